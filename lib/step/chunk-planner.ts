import { OtherRank } from '../distributed/ranks.js';
import { GradCacheError } from '../errors.js';
import { drawSeed } from '../options/seeds.js';
import { emptyCache } from '../tensor/memory.js';
import { AutomaticChunk } from './automatic-chunk.js';
import { planChunks, type ChunkSize, type FixedChunkSize } from './chunk-plan.js';
import type { AnyEncoder } from './encoder.js';
import type { GradCacheOptions } from './gradcache-options.js';
import { aboutInput } from './inputs.js';
import {
  isOutOfMemory,
  OutOfMemoryBesideChunks,
  OutOfMemoryInLoss,
  smallest,
  tooSmall,
} from './out-of-memory.js';
import { chooseRetained, type PlannedJob, type Retain } from './retention.js';

/** One chunk of a step and how it is encoded. */
export interface Job extends PlannedJob {
  readonly tower: number;
  /** Seed of its dropout. */
  readonly seed: number;
  /** Whether its graph is kept. */
  readonly retain: boolean;
}

/** Cuts batches into chunks and makes them smaller when memory runs out. */
export class ChunkPlanner {
  readonly #encoders: readonly AnyEncoder[];
  readonly #chunk: ChunkSize | readonly ChunkSize[];
  readonly #automatic: AutomaticChunk;
  #retain: Retain;
  /** Chunk sizes are divided by this. It doubles each time memory runs out, and stays so. */
  #divisor = 1;

  constructor(
    encoders: readonly AnyEncoder[],
    { chunk = 'auto', retain = 'last' }: Pick<GradCacheOptions, 'chunk' | 'retain'>,
  ) {
    this.#encoders = encoders;
    this.#chunk = chunk;
    this.#retain = retain;
    this.#automatic = new AutomaticChunk(retain);
  }

  /** The chunk size of each tower in the next step. */
  sizes(): FixedChunkSize[] {
    return this.#encoders.map((encoder, tower) => {
      const asked = Array.isArray(this.#chunk)
        ? (this.#chunk as readonly ChunkSize[])[tower]!
        : (this.#chunk as ChunkSize);
      return divided(asked === 'auto' ? this.#automatic.sizeFor(encoder) : asked, this.#divisor);
    });
  }

  /**
   * The lengths of the rows of each tower's batch, and how many rows were cut to the greatest length.
   *
   * @param absent towers without a row, whose batch is null
   * @throws GradCacheError `INPUT`, `SHAPE` for a batch that its encoder refuses
   */
  measure(
    batches: readonly never[],
    absent: readonly number[] = [],
  ): { readonly lengths: Int32Array[]; readonly truncated: number } {
    if (batches.length !== this.#encoders.length)
      throw new GradCacheError('INPUT', `${batches.length} inputs for ${this.#encoders.length} towers`);
    const lengths = this.#encoders.map((encoder, tower) =>
      absent.includes(tower) ? new Int32Array(0) : lengthsOf(encoder, batches[tower]!, tower),
    );
    const truncated = this.#encoders.map((encoder, tower) =>
      absent.includes(tower) ? 0 : encoder.truncated(batches[tower]!),
    );
    return { lengths, truncated: truncated.reduce((sum, count) => sum + count, 0) };
  }

  /**
   * The chunks of a step, in the order of their first pass.
   *
   * @param lengths the lengths of each tower's rows
   * @param seed the seed of the step
   */
  plan(batches: readonly never[], lengths: readonly Int32Array[], seed: number): Job[] {
    const sizes = this.sizes();
    const jobs = this.#encoders.flatMap((encoder, tower) =>
      planChunks(lengths[tower]!, sizes[tower]!).map(({ rows, tokens }) => ({
        tower,
        encoder,
        chunk: { batch: batches[tower]!, rows, tokens },
      })),
    );
    // A tower without trainable parameters most likely has no graph to keep.
    const training = new Set(this.#encoders.filter(trains));
    const trained = jobs.filter(({ encoder }) => training.has(encoder));
    const kept = new Set(
      trained.slice(trained.length - chooseRetained(trained, this.#retain, this.#divisor)),
    );
    return jobs.map((job, index) => ({
      ...job,
      seed: drawSeed('chunk', seed, index),
      retain: kept.has(job),
    }));
  }

  /**
   * Runs a step, and again with smaller chunks whenever memory runs out.
   *
   * @param plan returns the chunks of an attempt
   * @param attempt runs them; `retries` attempts failed before
   */
  async retried<T>(
    plan: () => Job[],
    attempt: (jobs: readonly Job[], retries: number) => Promise<T>,
  ): Promise<T> {
    const [divisor, retain] = [this.#divisor, this.#retain];
    for (let retries = 0; ; retries++) {
      const jobs = plan();
      try {
        return await attempt(jobs, retries);
      } catch (error) {
        // Another rank makes room; the chunks of this one fit.
        if (error instanceof OtherRank && error.retry) continue;
        if (!isOutOfMemory(error) || error instanceof OtherRank) throw error;
        const fatal = this.#makeRoom(jobs, error);
        if (fatal === null) continue;
        // A step that fits at no size says nothing about the next step.
        [this.#divisor, this.#retain] = [divisor, retain];
        throw fatal;
      }
    }
  }

  /** Whether `retried` takes another attempt after an error. */
  hasRoom(jobs: readonly Job[], error: unknown): boolean {
    return isOutOfMemory(error) && whyNoRoom(jobs, error) === null;
  }

  /** Makes the next attempt smaller: half the chunk size, or no kept graph if the loss needs room. Returns null, or why not. */
  #makeRoom(jobs: readonly Job[], error: GradCacheError): GradCacheError | null {
    const fatal = whyNoRoom(jobs, error);
    if (fatal !== null) return fatal;
    if (needsKeptGraph(jobs, error)) this.#retain = { bytes: 0 };
    else this.#divisor *= 2;
    emptyCache(this.#encoders[0]!.device);
    return null;
  }

  /** Learns from a step what memory its chunks took. */
  learn(jobs: readonly Job[], memory: { readonly before: number; readonly peak: number }): void {
    this.#automatic.learn({ jobs, ...memory, divisor: this.#divisor });
  }
}

/** Whether the loss can have the room of the last kept graph. */
function needsKeptGraph(jobs: readonly Job[], error: GradCacheError): boolean {
  return error instanceof OutOfMemoryInLoss && jobs.filter(({ retain }) => retain).length <= 1;
}

/** Why an attempt cannot be made smaller, or null. */
function whyNoRoom(jobs: readonly Job[], error: GradCacheError): GradCacheError | null {
  if (error instanceof OutOfMemoryBesideChunks) return error;
  if (needsKeptGraph(jobs, error)) return jobs.some(({ retain }) => retain) ? null : error;
  return smallest(jobs) ? tooSmall(jobs, error) : null;
}

/** The lengths of a tower's batch. An error of the encoder is given the number of the input. */
function lengthsOf(encoder: AnyEncoder, batch: never, tower: number): Int32Array {
  try {
    return encoder.lengths(batch);
  } catch (error) {
    throw aboutInput(tower, error);
  }
}

const trains = (encoder: AnyEncoder): boolean =>
  encoder.parameters().some(({ tensor }) => tensor.requiresGrad);

function divided(size: FixedChunkSize, divisor: number): FixedChunkSize {
  if ('tokens' in size) return { tokens: Math.max(1, Math.floor(size.tokens / divisor)) };
  return { sequences: Math.max(1, Math.floor(size.sequences / divisor)) };
}
