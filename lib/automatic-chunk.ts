import type { FixedChunkSize } from './encoders/chunk-plan.js';
import type { Chunk, Encoder } from './encoders/encoder.js';
import { memory } from './memory.js';
import type { PlannedJob, Retain } from './retention.js';

/** Share of a GPU's free memory that `'auto'` gives to the chunk at work; the rest is for the loss and for others. */
const SHARE = 0.6;

/** A chunk of more tokens than this is no faster. */
const MOST_TOKENS = 262_144;

/** Chunks are cut to a multiple of this many tokens, so that a few bytes more or less free change nothing. */
const GRAIN = 4096;

/** What a finished step took. */
export interface Measured {
  readonly jobs: readonly (PlannedJob & { readonly retain: boolean })[];
  /** Memory in use before the step and the most during it, in bytes. */
  readonly before: number;
  readonly peak: number;
  /** What chunk sizes were divided by. */
  readonly divisor: number;
}

/**
 * The chunk size that `'auto'` stands for. The first step takes an encoder's own; on a GPU that step tells how much memory
 * a token needs, and from then on a chunk has as many tokens as fill a share of what is free. Where graphs of all chunks
 * that fit are kept anyway (`retain: 'auto'`), and for encoders whose graph's size is not known, the first size stays.
 */
export class AutomaticChunk {
  readonly #retain: Retain;
  readonly #available: (device: string) => number;
  /** Encoders whose chunks are automatic. */
  readonly #encoders = new Set<Encoder>();
  /** Bytes that a token of a chunk at work takes, as measured, and those that kept graphs take. */
  #bytes: Map<Encoder, number> | null = null;
  #kept = 0;
  #divisor = 1;
  readonly #tokens = new Map<Encoder, number>();

  constructor(retain: Retain, available = (device: string): number => memory(device).available) {
    this.#retain = retain;
    this.#available = available;
  }

  sizeFor(encoder: Encoder): FixedChunkSize {
    this.#encoders.add(encoder);
    const bytes = this.#bytes?.get(encoder);
    if (bytes !== undefined && !this.#tokens.has(encoder))
      this.#tokens.set(encoder, this.#fill(encoder, bytes));
    const tokens = this.#tokens.get(encoder);
    return tokens === undefined ? encoder.automaticChunk : { tokens };
  }

  /** Learns from the first step whose chunks were large enough to tell. */
  learn({ jobs, before, peak, divisor }: Measured): void {
    if (this.#bytes !== null || this.#retain === 'auto') return;
    const graph = ({ encoder, chunk }: PlannedJob): number => encoder.graphBytes(chunk) ?? 0;
    const sum = (some: readonly PlannedJob[]): number => some.reduce((total, job) => total + graph(job), 0);
    const promised = typeof this.#retain === 'object' ? Math.min(this.#retain.bytes, sum(jobs)) : 0;
    // A budget for the graphs of all chunks leaves nothing to be encoded twice.
    if (promised > 0 && promised >= sum(jobs)) return;
    const largest = new Map<Encoder, Chunk<unknown>>();
    for (const { encoder, chunk } of jobs) {
      if (chunk.tokens > (largest.get(encoder)?.tokens ?? 0)) largest.set(encoder, chunk);
    }
    const one = Math.max(...[...largest].map(([encoder, chunk]) => graph({ encoder, chunk })));
    // How many times its graph a chunk at work takes: gradients and the products of a layer come on top.
    const kept = sum(jobs.filter(({ retain }) => retain));
    const times = Math.max(1, (peak - before - Math.max(0, kept - one)) / one);
    const measured = [...largest].filter(
      ([encoder, chunk]) =>
        this.#encoders.has(encoder) && tells(encoder, chunk, divisor) && graph({ encoder, chunk }) > 0,
    );
    if (measured.length === 0) return;
    this.#divisor = divisor;
    this.#kept = promised;
    this.#bytes = new Map(
      measured.map(([encoder, chunk]) => [encoder, (times * graph({ encoder, chunk })) / chunk.tokens]),
    );
  }

  #fill(encoder: Encoder, bytesPerToken: number): number {
    const room = Math.max(0, this.#available(encoder.device) - this.#kept) * SHARE;
    const tokens = Math.min(MOST_TOKENS, room / bytesPerToken);
    // The step divides every size by what memory that ran out has taught it: what was measured is measured with that.
    return Math.max(GRAIN, Math.floor(tokens / GRAIN) * GRAIN) * this.#divisor;
  }
}

/** Whether a chunk on a GPU was large enough to be taken for the next. */
function tells(
  { device, automaticChunk: size }: Encoder,
  { tokens }: Chunk<unknown>,
  divisor: number,
): boolean {
  return device.startsWith('cuda') && 'tokens' in size && tokens >= size.tokens / divisor / 2;
}
