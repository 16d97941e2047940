import type { FixedChunkSize } from './encoders/chunk-plan.js';
import type { Chunk, Encoder } from './encoders/encoder.js';
import { memory } from './memory.js';
import type { Retain } from './retention.js';

/** Share of a GPU's free memory that `'auto'` gives to the chunk at work; the rest is for the loss and for others. */
const SHARE = 0.6;

/** A chunk of more tokens than this is no faster. */
const MOST_TOKENS = 262_144;

/** Chunks are cut to a multiple of this many tokens, so that a few bytes more or less free change nothing. */
const GRAIN = 4096;

/** What a finished step took. */
export interface Measured {
  readonly jobs: readonly {
    readonly encoder: Encoder;
    readonly chunk: Chunk<unknown>;
    readonly retain: boolean;
  }[];
  /** Memory in use before the step and the most during it, in bytes. */
  readonly before: number;
  readonly peak: number;
  /** What chunk sizes were divided by. */
  readonly divisor: number;
}

/**
 * The chunk size that `'auto'` stands for. The first step takes an encoder's own; on a GPU that step tells how much memory
 * a token needs, and from then on a chunk has as many tokens as fill a share of what is free. Where all the memory that is
 * left goes to kept graphs (`retain: 'auto'`), and for encoders whose graph's size is not known, the first size stays.
 */
export class AutomaticChunk {
  readonly #retain: Retain;
  readonly #available: (device: string) => number;
  /** Bytes that a token of a chunk at work takes, as measured. */
  #bytes: Map<Encoder, number> | null = null;
  #divisor = 1;
  readonly #tokens = new Map<Encoder, number>();

  constructor(retain: Retain, available = (device: string): number => memory(device).available) {
    this.#retain = retain;
    this.#available = available;
  }

  sizeFor(encoder: Encoder): FixedChunkSize {
    const bytes = this.#bytes?.get(encoder);
    if (bytes !== undefined && !this.#tokens.has(encoder))
      this.#tokens.set(encoder, this.#fill(encoder, bytes));
    const tokens = this.#tokens.get(encoder);
    return tokens === undefined ? encoder.automaticChunk : { tokens };
  }

  /** Learns from the first step whose chunks were large enough to tell. */
  learn({ jobs, before, peak, divisor }: Measured): void {
    if (this.#bytes !== null || this.#retain === 'auto') return;
    const largest = new Map<Encoder, Chunk<unknown>>();
    for (const { encoder, chunk } of jobs) {
      if (chunk.tokens > (largest.get(encoder)?.tokens ?? 0)) largest.set(encoder, chunk);
    }
    const graphs = new Map<Encoder, number>();
    for (const [encoder, chunk] of largest) {
      const size = encoder.automaticChunk;
      const bytes = encoder.graphBytes(chunk);
      if (bytes === null || !('tokens' in size) || !encoder.device.startsWith('cuda')) return;
      if (chunk.tokens < size.tokens / divisor / 2) return;
      graphs.set(encoder, bytes);
    }
    const one = Math.max(...graphs.values());
    const kept = jobs.reduce(
      (sum, { encoder, chunk, retain }) => sum + (retain ? (encoder.graphBytes(chunk) ?? 0) : 0),
      0,
    );
    // How many times its graph a chunk at work takes: gradients and the products of a layer come on top.
    const times = Math.max(1, (peak - before - Math.max(0, kept - one)) / one);
    this.#divisor = divisor;
    this.#bytes = new Map(
      [...graphs].map(([encoder, bytes]) => [encoder, (times * bytes) / largest.get(encoder)!.tokens]),
    );
  }

  #fill(encoder: Encoder, bytesPerToken: number): number {
    const kept = typeof this.#retain === 'object' ? this.#retain.bytes : 0;
    const room = Math.max(0, this.#available(encoder.device) - kept) * SHARE;
    const tokens = Math.min(MOST_TOKENS, room / bytesPerToken);
    // The step divides every size by what memory that ran out has taught it: what was measured is measured with that.
    return Math.max(GRAIN, Math.floor(tokens / GRAIN) * GRAIN) * this.#divisor;
  }
}
