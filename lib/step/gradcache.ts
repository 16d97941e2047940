/*
 * The gradient-cache step of Gao et al. 2021 (3.2). examples/by-hand.ts is the same step in forty lines. The files beside
 * this one cut chunks and retry (chunk-planner.ts), run the two passes over them (two-passes.ts), measure time and memory
 * (step-meter.ts), and undo a step that fails (pass.ts). shared-step.ts is the step over ranks.
 */
import type { Ranks } from '../distributed/ranks.js';
import { refuseTogether } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { withGradients, type LossWithGradients } from '../losses/loss.js';
import { drawSeed } from '../options/seeds.js';
import { tell } from '../options/synchronous.js';
import { requireParameterList } from '../tensor/parameter-list.js';
import { ParameterSet } from '../tensor/parameter-set.js';
import type { Parameter } from '../tensor/tensor.js';
import { checkedEncoders, type CheckedEncoder } from './checked-encoder.js';
import type { FixedChunkSize } from './chunk-plan.js';
import { ChunkPlanner, type Job } from './chunk-planner.js';
import { untilAccepted, type CountedAttempt } from './curation.js';
import { lengthsOf, type AnyEncoder, type StepInputs } from './encoder.js';
import {
  checkLossOf,
  checkOptions,
  checkStep,
  type GradCacheOptions,
  type LossOfOptions,
  type StepOptions,
  type StepResult,
} from './gradcache-options.js';
import { evaluationLoss } from './evaluation-loss.js';
import type { Exchange } from './exchange.js';
import { inLoss } from './out-of-memory.js';
import { whilePacked, type PackedBatches } from './packed-batches.js';
import { Pass } from './pass.js';
import type { Reduction } from '../distributed/reduction.js';
import { BEGIN, stepOverRanks } from './shared-step.js';
import { StepMeter } from './step-meter.js';
import { backwardAll, encodeAll } from './two-passes.js';
import type { Curate } from './verdict.js';

/**
 * The gradient-cache step (Gao et al. 2021): the exact gradient of a contrastive loss over the whole batch, in the memory
 * of one chunk.
 *
 * @example
 * ```ts
 * const gradcache = new GradCache({
 *   encoders: [model, model],
 *   loss: infoNCE({ temperature: 0.05 }),
 *   chunk: { tokens: 4096 },
 * });
 * const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5 });
 * const { loss } = await gradcache.step([model.tokenize(anchors), model.tokenize(positives)]);
 * await optimizer.step();
 * ```
 */
export class GradCache<const Encoders extends readonly AnyEncoder[] = readonly AnyEncoder[]> {
  readonly #encoders: readonly CheckedEncoder[];
  readonly #loss: LossWithGradients;
  readonly #planner: ChunkPlanner;
  readonly #seed: number;
  readonly #curate: Curate | undefined;
  readonly #ranks: Ranks | null;
  readonly #reduction: Reduction;
  readonly #exchange: Exchange;
  /** Gradients are multiplied by this: 1 / accumulate. */
  readonly #weight: number;
  #steps = 0;
  #running = false;

  /** @throws GradCacheError `INPUT` for a wrong option, or options that do not fit together */
  constructor(options: GradCacheOptions<Encoders>) {
    checkOptions(options);
    const { encoders, loss, seed = 0, accumulate = 1 } = options;
    this.#encoders = checkedEncoders(encoders);
    this.#loss = withGradients(loss);
    requireSparseLoss(this.#encoders, this.#loss);
    requireLayers(this.#encoders, this.#loss);
    this.#loss.checkLengths?.(lengthsOf(this.#encoders));
    this.#planner = new ChunkPlanner(this.#encoders, options);
    this.#seed = seed;
    this.#curate = options.curate;
    this.#ranks = options.ranks ?? null;
    this.#reduction = options.reduction ?? {};
    this.#exchange = options.exchange ?? 'gather';
    this.#weight = 1 / accumulate;
  }

  /** Parameters of all towers and of the loss. One that encoders share is listed once. */
  parameters(): Parameter[] {
    return [...this.#parameters().list];
  }

  #parameters(): ParameterSet {
    const ofEncoders = [...new Set(this.#encoders)].flatMap((encoder) => encoder.parameters());
    const ofLoss = requireParameterList('what parameters() of the loss returned', this.#loss.parameters());
    return new ParameterSet([...ofEncoders, ...ofLoss]);
  }

  /** The chunk size of each tower in the next step, as `'auto'` and retries have set it. */
  chunkSizes(): FixedChunkSize[] {
    return this.#planner.sizes();
  }

  /**
   * Adds the gradient of the loss over the whole batch to the parameters' gradients. The optimizer makes the update.
   *
   * @param inputs one batch for each tower, or a promise of it
   * @throws GradCacheError `INPUT`, `SHAPE`, `NON_FINITE`, `ABORTED`, `OUT_OF_MEMORY`; also whatever your own loss or
   * encoder throws. A step that fails restores the gradients.
   */
  async step(inputs: StepInputs<Encoders>, options: StepOptions = {}): Promise<StepResult> {
    // If the step is refused, rejected inputs must not become unhandled rejections.
    const all = Promise.all(Array.isArray(inputs) ? inputs : []);
    all.catch(() => undefined);
    checkStep(inputs, options);
    return this.#alone(async () => {
      if (this.#ranks !== null) return this.#together(this.#ranks, all, options);
      const batches = (await all) as never[]; // StepInputs gives each encoder the batches that it takes
      const parameters = this.#parameters();
      return await parameters.whileStepping(() =>
        untilAccepted(batches, options, async (batches, attempt) => {
          const { lengths, truncated } = this.#planner.measure(batches);
          if (this.#curate === undefined)
            this.#loss.checkOptions?.(
              attempt.loss ?? {},
              lengths.map(({ length }) => length),
              lengthsOf(this.#encoders),
            );
          const seed = options.seed ?? drawSeed('step', this.#seed, this.#steps++);
          return whilePacked(this.#encoders, batches, (packed) =>
            this.#planner.retried(
              () => this.#planner.plan(batches, lengths, seed),
              (jobs, retries) =>
                this.#attempt(jobs, lengths, packed, parameters, { ...attempt, truncated, retries }),
            ),
          );
        }),
      );
    });
  }

  async #together(ranks: Ranks, inputs: Promise<unknown[]>, options: StepOptions): Promise<StepResult> {
    let begun = false;
    try {
      const seed = options.seed ?? drawSeed('step', this.#seed, this.#steps++);
      const parameters = this.#parameters();
      return await parameters.whileStepping(() => {
        begun = true;
        const [encoders, loss, planner, weight] = [this.#encoders, this.#loss, this.#planner, this.#weight];
        const [reduction, exchange] = [this.#reduction, this.#exchange];
        const parts = { encoders, loss, planner, parameters, weight, reduction, exchange };
        return stepOverRanks(ranks, parts, inputs, options, seed);
      });
    } catch (error) {
      if (begun) throw error;
      return await refuseTogether(ranks, BEGIN, error);
    }
  }

  /**
   * The loss of a batch as in evaluation: without dropout, gradients or an update of any state, random or the loss's own. The
   * option `curate` is not asked. Beside `ranks` it is that of this rank's batch alone, and other ranks take no part.
   *
   * @param inputs one batch for each tower, or a promise of it
   * @throws GradCacheError `INPUT`, `SHAPE`, `NON_FINITE`, `ABORTED`, `OUT_OF_MEMORY`; also whatever your own loss or
   * encoder throws
   */
  async lossOf(inputs: StepInputs<Encoders>, options: LossOfOptions = {}): Promise<number> {
    const all = Promise.all(Array.isArray(inputs) ? inputs : []);
    all.catch(() => undefined);
    checkLossOf(inputs, options);
    return this.#alone(async () => {
      const parts = { encoders: this.#encoders, loss: this.#loss, planner: this.#planner };
      return evaluationLoss(parts, (await all) as never[], options);
    });
  }

  async #alone<T>(run: () => Promise<T>): Promise<T> {
    if (this.#running)
      throw new GradCacheError('INPUT', 'a step of this GradCache is still running: await it first');
    this.#running = true;
    try {
      return await run();
    } finally {
      this.#running = false;
    }
  }

  /** The three steps of the paper; null: the batch was refused. If one fails, the gradients are restored. */
  async #attempt(
    jobs: readonly Job[],
    lengths: readonly Int32Array[],
    packed: Promise<PackedBatches>,
    parameters: ParameterSet,
    options: CountedAttempt,
  ): Promise<StepResult | null> {
    const meter = new StepMeter(this.#encoders[0]!.device);
    const pass = await Pass.begin(jobs, lengths, packed, parameters, options);
    try {
      meter.start();
      await encodeAll(pass);
      await meter.end('forward');
      if (!(await pass.judgedBy(this.#curate))) return null;
      const loss = await this.#compute(pass);
      await meter.end('loss');
      await backwardAll(pass);
      await meter.end('backward');
      const used = meter.memory();
      this.#planner.learn(jobs, used);
      return { loss, ...pass.counts, milliseconds: meter.milliseconds, peakMemory: used.peak };
    } catch (error) {
      pass.undo();
      throw error;
    } finally {
      pass.dispose();
    }
  }

  /** Step 2: the loss over all representations, and its gradient with respect to each of them in the cache. */
  async #compute(pass: Pass): Promise<number> {
    const { cache, options } = pass;
    const { sequences: rows, tokens } = pass.counts;
    const training = pass.trained();
    const trained = this.#encoders.map((_, tower) => training.some((job) => job.tower === tower));
    const loss = await cache
      .compute(pass.ofKept(this.#loss), options.loss, this.#weight, trained)
      .catch((error: unknown) => inLoss(error, rows));
    tell('onProgress', options.onProgress, { phase: 'loss', chunk: 1, chunks: 1, rows, tokens });
    cache.releaseRepresentations();
    return loss;
  }
}

/** @throws GradCacheError `INPUT` for a loss of dense representations and an encoder of sparse ones */
function requireSparseLoss(encoders: readonly CheckedEncoder[], loss: LossWithGradients): void {
  const tower = encoders.findIndex(({ sparse }) => sparse);
  if (tower < 0 || loss.sparse === 'entries') return;
  throw new GradCacheError(
    'INPUT',
    `encoders[${tower}] is a sparse encoder, and the loss is for dense representations: give splade(loss, { ` +
      'documentRegularizerWeight, queryRegularizerWeight })',
  );
}

/** @throws GradCacheError `INPUT` for a loss of other layers than an encoder gives the representations of */
function requireLayers(encoders: readonly CheckedEncoder[], { layers }: LossWithGradients): void {
  for (const [tower, encoder] of encoders.entries()) {
    const given = encoder.layers ?? [];
    if (layers === undefined ? given.length < 2 : given.join() === layers.join()) continue;
    throw new GradCacheError(
      'INPUT',
      `encoders[${tower}] gives the representations of ${sayLayers(given)}, and the loss takes those of ` +
        `${sayLayers(layers ?? [])}: load the encoder with layers: 'all', and give adaptiveLayer(loss, { layers: encoder.layers })`,
    );
  }
}

const sayLayers = (layers: readonly number[]): string =>
  layers.length < 2 ? 'its last layer' : `the layers ${layers.join(', ')}`;
