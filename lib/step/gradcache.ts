import { throwIfAborted } from '../options/abort.js';
import { AutomaticChunk } from './automatic-chunk.js';
import { GradCacheError } from '../errors.js';
import { AHEAD, inOrder } from './chunk-queue.js';
import { planChunks, type ChunkSize, type FixedChunkSize } from './chunk-plan.js';
import type { Chunk, EncodedChunk, Encoder } from './encoder.js';
import { checkOptions, checkStep } from './gradcache-checks.js';
import { whileStepping } from '../tensor/in-use.js';
import { GradientSnapshot } from '../tensor/gradient-snapshot.js';
import { withGradients, type Loss, type LossOptions, type LossWithGradients } from '../losses/loss.js';
import { emptyCache, memory, resetPeakMemory, synchronize } from '../tensor/memory.js';
import {
  besideChunks,
  isOutOfMemory,
  OutOfMemoryBesideChunks,
  OutOfMemoryInLoss,
  smallest,
  tooSmall,
} from './out-of-memory.js';
import { requireParameterList } from '../tensor/parameter-list.js';
import { RepresentationCache } from './representation-cache.js';
import { chooseRetained, type Retain } from './retention.js';
import { chunkSeed } from '../options/seeds.js';
import type { Parameter } from '../tensor/tensor.js';

/** How {@link GradCache} trains. */
export interface GradCacheOptions {
  /** One encoder for each tower; the same object twice ties the towers. */
  readonly encoders: readonly Encoder<never>[];
  /** {@link infoNCE}, or any function of the towers' representations that returns a scalar tensor. */
  readonly loss: Loss;
  /**
   * How much is encoded at once, for all towers or for each. Default `'auto'`: of a {@link TextEncoder} 2,048 tokens on
   * the CPU; on a GPU 32,768, until a first step has measured what a token takes, and then as many as fill 60 % of the
   * memory that is free, up to 262,144 (with `retain: 'auto'` they stay 32,768). Of a {@link ModuleEncoder}
   * 256 rows. Masks of dropout follow the chunks: give a size where two runs have to agree bit for bit.
   */
  readonly chunk?: ChunkSize | readonly ChunkSize[];
  /**
   * Which chunks keep their graph, and so are encoded once: the last one (`'last'`, the default), whose graph the second
   * pass would build first, so that it takes memory only while the loss is computed; as many of the last as the device
   * has room for (`'auto'`); or as many as fit into a number of bytes (0: none; nor any whose size is not known, as of a
   * {@link ModuleEncoder}). The result is the same.
   */
  readonly retain?: Retain;
  /** Steps whose mean makes one update: gradients are multiplied by its inverse; default: 1. */
  readonly accumulate?: number;
  /** Of dropout; default: 0. */
  readonly seed?: number;
}

/** Options of one {@link GradCache.step}. */
export interface StepOptions {
  /** Stops the step after the chunk under way; gradients are then as before the step. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: StepProgress) => void) | undefined;
  /** Keyword arguments of the loss. */
  readonly loss?: LossOptions;
  /** Replaces the seed that the step would draw from the option `seed` and its number. */
  readonly seed?: number;
}

/** Where a step is. */
export interface StepProgress {
  readonly phase: 'forward' | 'loss' | 'backward';
  /** Chunks of the phase that are done, and how many there are. */
  readonly chunk: number;
  readonly chunks: number;
  /** Rows and tokens of the phase that are done. */
  readonly rows: number;
  readonly tokens: number;
}

/** What a step did. */
export interface StepResult {
  readonly loss: number;
  /** Rows of the first tower. */
  readonly pairs: number;
  /** Rows and tokens of all towers; a row of a {@link ModuleEncoder} counts as one token. */
  readonly sequences: number;
  readonly tokens: number;
  /** Texts that were cut to the greatest length. */
  readonly truncated: number;
  readonly chunks: number;
  /** Chunks whose graph was kept, so that they were encoded once. */
  readonly retained: number;
  /** How often the step began anew, with half the chunk, because memory had run out. */
  readonly retries: number;
  readonly milliseconds: {
    readonly forward: number;
    readonly loss: number;
    readonly backward: number;
    readonly total: number;
  };
  /** The most memory in use during the step, in bytes: of the device, or the process's resident size on the CPU. */
  readonly peakMemory: number;
}

interface Job {
  readonly tower: number;
  readonly encoder: Encoder;
  readonly chunk: Chunk<unknown>;
  readonly seed: number;
  readonly retain: boolean;
}

/** What the first pass leaves of a chunk beside its representations, which are in the cache. */
type Encoded = Omit<EncodedChunk, 'representations'>;

/**
 * The gradient-cache step (Gao et al. 2021): the gradient of a contrastive loss over the whole batch, exactly, at the
 * memory of a chunk.
 */
export class GradCache {
  readonly #encoders: readonly Encoder[];
  readonly #loss: LossWithGradients;
  readonly #options: GradCacheOptions;
  #retain: Retain;
  readonly #automatic: AutomaticChunk;
  #steps = 0;
  #running = false;
  /** What chunk sizes are divided by: doubled each time memory runs out, for good. */
  #divisor = 1;

  /** @throws GradCacheError `INPUT` for options that do not fit each other */
  constructor(options: GradCacheOptions) {
    checkOptions(options);
    this.#options = options;
    this.#retain = options.retain ?? 'last';
    this.#automatic = new AutomaticChunk(this.#retain);
    this.#encoders = options.encoders;
    this.#loss = withGradients(options.loss);
  }

  /** Parameters of all towers and of the loss, each once, however many encoders share it. */
  parameters(): Parameter[] {
    const all = [
      ...[...new Set(this.#encoders)].flatMap((encoder) => encoder.parameters()),
      ...this.#lossParameters(),
    ];
    return [...new Map(all.map((parameter) => [parameter.tensor, parameter])).values()];
  }

  #lossParameters(): Parameter[] {
    return requireParameterList('what parameters() of the loss returned', this.#loss.parameters());
  }

  /** The chunk size of each tower in the next step: what `'auto'`, and memory that ran out, have made of it so far. */
  chunkSizes(): FixedChunkSize[] {
    const { chunk = 'auto' } = this.#options;
    return this.#encoders.map((encoder, tower) => {
      const asked = Array.isArray(chunk) ? (chunk as readonly ChunkSize[])[tower]! : (chunk as ChunkSize);
      return divided(asked === 'auto' ? this.#automatic.sizeFor(encoder) : asked, this.#divisor);
    });
  }

  /**
   * Adds the gradient of the loss over the whole batch to the parameters' gradients; the update is the optimizer's.
   *
   * @param inputs one batch for each tower, or a promise of it
   * @throws GradCacheError `INPUT`, `SHAPE`, `NON_FINITE`, `ABORTED`, `OUT_OF_MEMORY`, or what a loss or encoder of one's
   * own throws. Gradients are then as they were before the step.
   */
  async step(inputs: readonly unknown[], options: StepOptions = {}): Promise<StepResult> {
    // A step that is refused leaves none of its inputs to be rejected unheard.
    const all = Promise.all(Array.isArray(inputs) ? inputs : []);
    all.catch(() => undefined);
    checkStep(inputs, options);
    if (this.#running)
      throw new GradCacheError('INPUT', 'a step of this GradCache is still running: await it first');
    this.#running = true;
    try {
      const batches = await all;
      return await whileStepping(this.parameters(), () => this.#retried(batches, options));
    } finally {
      this.#running = false;
    }
  }

  /** The step, begun anew with less at once as long as memory runs out. */
  async #retried(batches: readonly unknown[], options: StepOptions): Promise<StepResult> {
    throwIfAborted(options.signal);
    const lengths = this.#lengths(batches);
    const seed = options.seed ?? chunkSeed(this.#options.seed ?? 0, this.#steps++, 0);
    const [divisor, retain] = [this.#divisor, this.#retain];
    for (let retries = 0; ; retries++) {
      const jobs = this.#plan(batches, lengths, seed);
      try {
        return await this.#attempt(batches, lengths, jobs, options, retries);
      } catch (error) {
        if (!isOutOfMemory(error)) throw error;
        const fatal = this.#makeRoom(jobs, error);
        if (fatal === null) continue;
        // What was learnt from a step that cannot be taken is of no use to the next.
        [this.#divisor, this.#retain] = [divisor, retain];
        throw fatal;
      }
    }
  }

  /** Makes the next attempt smaller: by half, or without the last graph where the loss needs its room. Null, or why it cannot. */
  #makeRoom(jobs: readonly Job[], error: GradCacheError): GradCacheError | null {
    const kept = jobs.filter(({ retain }) => retain).length;
    if (error instanceof OutOfMemoryBesideChunks) return error;
    if (error instanceof OutOfMemoryInLoss && kept <= 1) {
      if (kept === 0) return error;
      this.#retain = { bytes: 0 };
    } else {
      if (smallest(jobs)) return tooSmall(jobs, error);
      this.#divisor *= 2;
    }
    emptyCache(this.#encoders[0]!.device);
    return null;
  }

  async #attempt(
    batches: readonly unknown[],
    lengths: readonly Int32Array[],
    jobs: readonly Job[],
    options: StepOptions,
    retries: number,
  ): Promise<StepResult> {
    const { device } = this.#encoders[0]!;
    resetPeakMemory(device);
    const { allocated } = memory(device);
    const cache = new RepresentationCache(lengths.map((rows) => rows.length));
    const buffers = [...new Set(this.#encoders)].flatMap((encoder) => encoder.gradients());
    const ofLoss = this.#lossParameters().flatMap(({ tensor }) => tensor.grad ?? []);
    const before = await GradientSnapshot.take(
      [...buffers, ...ofLoss],
      this.parameters().map(({ tensor }) => tensor),
    ).catch(besideChunks);
    const encoded: Encoded[] = [];
    const clock = [performance.now()];
    const lap = async (): Promise<void> => {
      await synchronize(device);
      clock.push(performance.now());
    };
    try {
      await this.#forward(jobs, cache, encoded, options);
      await lap();
      const weight = 1 / (this.#options.accumulate ?? 1);
      const rows = lengths.reduce((sum, { length }) => sum + length, 0);
      const tokens = jobs.reduce((sum, { chunk }) => sum + chunk.tokens, 0);
      const trained = this.#encoders.map((_, tower) =>
        jobs.some((job, index) => job.tower === tower && encoded[index]!.frozen !== true),
      );
      const loss = await cache.compute(this.#loss, options.loss, weight, trained).catch((error: unknown) => {
        throw isOutOfMemory(error) ? new OutOfMemoryInLoss(rows, error) : error;
      });
      options.onProgress?.({ phase: 'loss', chunk: 1, chunks: 1, rows, tokens });
      cache.releaseRepresentations();
      await lap();
      await this.#backward(jobs, cache, encoded, before, options);
      await lap();
      const { peak } = memory(device);
      this.#automatic.learn({ jobs, before: allocated, peak, divisor: this.#divisor });
      const [start, forward, cached, end] = clock as [number, number, number, number];
      return {
        loss,
        pairs: lengths[0]!.length,
        sequences: rows,
        tokens,
        truncated: this.#encoders.reduce((sum, encoder, tower) => sum + encoder.truncated(batches[tower]), 0),
        chunks: jobs.length,
        retained: jobs.filter(({ retain }) => retain).length,
        retries,
        milliseconds: {
          forward: forward - start,
          loss: cached - forward,
          backward: end - cached,
          total: end - start,
        },
        peakMemory: peak,
      };
    } catch (error) {
      before.restore();
      cache.restore();
      throw error;
    } finally {
      for (const { ticket } of encoded) ticket.graph?.dispose();
      cache.dispose();
      before.dispose();
      for (const tensor of ofLoss) tensor.dispose();
    }
  }

  /** Step 1: every chunk without a graph (or keeping it, where memory was granted); representations go to their rows. */
  async #forward(
    jobs: readonly Job[],
    cache: RepresentationCache,
    encoded: Encoded[],
    options: StepOptions,
  ): Promise<void> {
    const report = progress('forward', jobs, options);
    await inOrder({
      count: jobs.length,
      signal: options.signal,
      launch: (index, group) => {
        const { encoder, chunk, seed, retain } = jobs[index]!;
        return encoder.forwardChunk(chunk, { seed, retain, group });
      },
      done: (index, { representations, ticket, frozen = false }) => {
        const { tower, chunk } = jobs[index]!;
        encoded.push({ ticket, frozen });
        cache.put(tower, chunk.rows, representations);
        representations.dispose();
        report(chunk);
      },
    });
  }

  /**
   * Step 3: every chunk again with its graph, seeded with its rows of the cache. Last chunk first, so that kept graphs
   * are freed before others are made; the order is the same with and without them, and so is every bit of the result.
   * Chunks that depend on nothing to train are left out.
   */
  async #backward(
    jobs: readonly Job[],
    cache: RepresentationCache,
    encoded: readonly Encoded[],
    before: GradientSnapshot,
    options: StepOptions,
  ): Promise<void> {
    const trained = jobs
      .map((job, index) => ({ ...job, ...encoded[index]! }))
      .filter(({ frozen }) => frozen !== true)
      .reverse();
    const report = progress('backward', trained, options);
    await inOrder({
      count: trained.length,
      signal: options.signal,
      ahead: (position) => (trained[position]!.encoder.queues ? AHEAD : 0),
      launch: async (position, group) => {
        const { encoder, chunk, tower, ticket } = trained[position]!;
        const gradients = cache.gradients(tower, chunk.rows);
        try {
          await encoder.backwardChunk(chunk, ticket, gradients, group, (root) =>
            before.addBelow(root).catch(besideChunks),
          );
        } finally {
          gradients.dispose();
        }
      },
      done: (position) => {
        report(trained[position]!.chunk);
      },
    });
  }

  #lengths(batches: readonly unknown[]): Int32Array[] {
    if (batches.length !== this.#encoders.length) {
      throw new GradCacheError('INPUT', `${batches.length} inputs for ${this.#encoders.length} towers`);
    }
    return this.#encoders.map((encoder, tower) => lengthsOf(encoder, batches[tower], tower));
  }

  #plan(batches: readonly unknown[], lengths: readonly Int32Array[], seed: number): Job[] {
    const sizes = this.chunkSizes();
    const jobs = this.#encoders.flatMap((encoder, tower) =>
      planChunks(lengths[tower]!, sizes[tower]!).map(({ rows, tokens }) => ({
        tower,
        encoder,
        chunk: { batch: batches[tower], rows, tokens },
      })),
    );
    // A tower that lists nothing to train most likely has no graph that could be kept.
    const training = new Set(this.#encoders.filter(trains));
    const trained = jobs.filter(({ encoder }) => training.has(encoder));
    const kept = new Set(
      trained.slice(trained.length - chooseRetained(trained, this.#retain, this.#divisor)),
    );
    return jobs.map((job, index) => ({ ...job, seed: chunkSeed(seed, index, 1), retain: kept.has(job) }));
  }
}

/** The lengths of a tower's batch. What the tower refuses of it says which of the inputs it is. */
function lengthsOf(encoder: Encoder, batch: unknown, tower: number): Int32Array {
  try {
    return encoder.lengths(batch);
  } catch (error) {
    if (!(error instanceof GradCacheError)) throw error;
    throw new GradCacheError(error.code, `inputs[${tower}]: ${error.message}`, { cause: error.cause });
  }
}

const trains = (encoder: Encoder): boolean => encoder.parameters().some(({ tensor }) => tensor.requiresGrad);

function divided(size: FixedChunkSize, divisor: number): FixedChunkSize {
  if ('tokens' in size) return { tokens: Math.max(1, Math.floor(size.tokens / divisor)) };
  return { sequences: Math.max(1, Math.floor(size.sequences / divisor)) };
}

function progress(phase: 'forward' | 'backward', jobs: readonly Job[], { onProgress }: StepOptions) {
  let chunk = 0;
  let rows = 0;
  let tokens = 0;
  return (done: Chunk<unknown>): void => {
    rows += done.rows.length;
    tokens += done.tokens;
    onProgress?.({ phase, chunk: ++chunk, chunks: jobs.length, rows, tokens });
  };
}
