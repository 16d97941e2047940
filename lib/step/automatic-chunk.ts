import type { FixedChunkSize } from './chunk-plan.js';
import type { AnyEncoder } from './encoder.js';
import { memory } from '../tensor/memory.js';
import type { PlannedJob, Retain } from './retention.js';

/** Share of a GPU's free memory that `'auto'` gives to the chunk at work; the rest is for the loss and for others. */
const SHARE = 0.6;

/** A bound for large cards, where more tokens gain little: from 32,768 to 56,000 it was 2 to 3 % on an H200. */
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
  readonly #encoders = new Set<AnyEncoder>();
  /** Bytes that a token of a chunk at work takes, as measured, and those that kept graphs take. */
  #bytes: Map<AnyEncoder, number> | null = null;
  #kept = 0;
  #divisor = 1;
  readonly #tokens = new Map<AnyEncoder, number>();

  constructor(retain: Retain, available = (device: string): number => memory(device).available) {
    this.#retain = retain;
    this.#available = available;
  }

  sizeFor(encoder: AnyEncoder): FixedChunkSize {
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
    const largest = new Map<AnyEncoder, PlannedJob>();
    for (const job of jobs) {
      if (job.chunk.tokens > (largest.get(job.encoder)?.chunk.tokens ?? 0)) largest.set(job.encoder, job);
    }
    const measured = [...largest.values()].filter(
      (job) => this.#encoders.has(job.encoder) && tells(job, divisor),
    );
    if (measured.length === 0) return;
    const graphs = (some: readonly PlannedJob[]): number => some.reduce((sum, job) => sum + graph(job), 0);
    const all = graphs(jobs);
    const promised = typeof this.#retain === 'object' ? Math.min(this.#retain.bytes, all) : 0;
    // A budget for the graphs of all chunks leaves nothing to be encoded twice.
    if (promised === all) return;
    // How many times its graph a chunk at work takes: gradients and the products of a layer come on top.
    const one = Math.max(...[...largest.values()].map(graph));
    const others = Math.max(0, graphs(jobs.filter(({ retain }) => retain)) - one);
    const times = Math.max(1, (peak - before - others) / one);
    this.#divisor = divisor;
    this.#kept = promised;
    this.#bytes = new Map(measured.map((job) => [job.encoder, (times * graph(job)) / job.chunk.tokens]));
  }

  #fill(encoder: AnyEncoder, bytesPerToken: number): number {
    const room = Math.max(0, this.#available(encoder.device) - this.#kept) * SHARE;
    const tokens = Math.min(MOST_TOKENS, room / bytesPerToken);
    // The step divides every size by what memory that ran out has taught it: what was measured is measured with that.
    return Math.max(GRAIN, Math.floor(tokens / GRAIN) * GRAIN) * this.#divisor;
  }
}

const graph = ({ encoder, chunk }: PlannedJob): number => encoder.graphBytes(chunk) ?? 0;

/** Whether a chunk was on a GPU, of a known size, and large enough to be taken for the next. */
function tells(job: PlannedJob, divisor: number): boolean {
  const { device, automaticChunk: size } = job.encoder;
  return (
    device.startsWith('cuda') &&
    'tokens' in size &&
    job.chunk.tokens >= size.tokens / divisor / 2 &&
    graph(job) > 0
  );
}
