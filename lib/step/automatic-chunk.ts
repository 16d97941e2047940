import type { FixedChunkSize } from './chunk-plan.js';
import type { AnyEncoder } from './encoder.js';
import { memory } from '../tensor/memory.js';
import type { PlannedJob, Retain } from './retention.js';

/** Share of a GPU's free memory that `'auto'` gives to the running chunk. The loss and other programs need the rest. */
const SHARE = 0.6;

/** A bound for large GPUs, where more tokens gain little: an H200 is 2 to 3 % faster at 56,000 than at 32,768. */
const MOST_TOKENS = 262_144;

/** Chunk sizes are multiples of this many tokens, so that small changes of the free memory do not change them. */
const GRAIN = 4096;

/** What a finished step needed. */
export interface Measured {
  readonly jobs: readonly (PlannedJob & { readonly retain: boolean })[];
  /** Memory in use before the step and the most during it, in bytes. */
  readonly before: number;
  readonly peak: number;
  /** What chunk sizes were divided by. */
  readonly divisor: number;
}

/**
 * The chunk size that `'auto'` stands for. The first step uses the encoder's own size. On a GPU that step shows how much
 * memory a token needs, and later chunks fill a share of the free memory. The first size stays with `retain: 'auto'`, which
 * gives free memory to graphs, and for encoders whose graph size is not known.
 */
export class AutomaticChunk {
  readonly #retain: Retain;
  readonly #available: (device: string) => number;
  /** Encoders whose chunks are automatic. */
  readonly #encoders = new Set<AnyEncoder>();
  /** Measured bytes per token of a running chunk. */
  #bytes: Map<AnyEncoder, number> | null = null;
  /** Measured bytes of the kept graphs. */
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
    // A budget for the graphs of all chunks: no chunk is encoded twice.
    if (promised === all) return;
    // Memory of a running chunk in multiples of its graph: gradients and a layer's products come on top.
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
    // The step divides every size by the divisor, which the measurement already includes.
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
