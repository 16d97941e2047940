/*
 * The step over ranks: each encodes the rows of its own, and the loss is over the rows of all. Ranks meet at the end of each
 * phase, so that none begins an exchange of tensors to which another does not come. A phase takes all memory that the exchange
 * after it needs.
 */
import { buffersOf, isTakenInShares } from '../distributed/divided-gradients.js';
import type { Ranks } from '../distributed/ranks.js';
import { GradCacheError } from '../errors.js';
import { requireFinite, type LossOptions, type LossWithGradients } from '../losses/loss.js';
import { throwIfAborted } from '../options/abort.js';
import { drawSeed } from '../options/seeds.js';
import { tell } from '../options/synchronous.js';
import { ParameterSet } from '../tensor/parameter-set.js';
import { absentTowers, towerLike } from './absent-towers.js';
import type { CheckedEncoder } from './checked-encoder.js';
import { lengthsOf } from './encoder.js';
import type { ChunkPlanner, Job } from './chunk-planner.js';
import { EarlyReductions } from './early-reductions.js';
import type { StepOptions, StepResult } from './gradcache-options.js';
import type { Exchange } from './exchange.js';
import { inLoss } from './out-of-memory.js';
import { whilePacked, type PackedBatches } from './packed-batches.js';
import { Pass } from './pass.js';
import { DEFAULT_BUCKET, type Reduction } from '../distributed/reduction.js';
import { SharedGradients } from '../distributed/shared-gradients.js';
import { lossShare } from './loss-share.js';
import { joinedOptions, packedOptions } from './packed-options.js';
import { SharedRows } from './shared-rows.js';
import { StepMeter } from './step-meter.js';
import { backwardAll, encodeAll } from './two-passes.js';

/** What a step is made of. */
export interface StepParts {
  readonly encoders: readonly CheckedEncoder[];
  readonly loss: LossWithGradients;
  readonly planner: ChunkPlanner;
  readonly parameters: ParameterSet;
  /** Gradients are multiplied by this. */
  readonly weight: number;
  readonly reduction: Reduction;
  readonly exchange: Exchange;
}

/** A batch over ranks. */
interface SharedBatch {
  readonly lengths: readonly Int32Array[];
  /** Of each rank, the number of rows of each tower. */
  readonly rows: readonly (readonly number[])[];
  /** Keyword arguments of the loss: of the rows that it is computed over. */
  readonly loss: LossOptions;
  /** Of all ranks. */
  readonly truncated: number;
}

/** What ranks meet for at first. */
export const BEGIN = 'beginning a step';
const ENCODE = 'encoding';
const LOSS = 'computing the loss';
const BACKWARD = 'the backward pass';

/**
 * Takes a step over ranks.
 *
 * @param seed of the step, the same on all ranks
 * @throws GradCacheError `DISTRIBUTED` if another rank ended; the errors of a step, with the code that they have on the rank
 * where they arose
 */
export async function stepOverRanks(
  ranks: Ranks,
  parts: StepParts,
  inputs: Promise<readonly unknown[]>,
  options: StepOptions,
  seed: number,
): Promise<StepResult> {
  const { encoders, planner } = parts;
  const { batches, batch } = await beginTogether(ranks, parts, inputs, options);
  const own = ranks.rank === 0 ? seed : drawSeed('rank', seed, ranks.rank);
  return whilePacked(encoders, batches, (packed) =>
    planner.retried(
      () => planner.plan(batches, batch.lengths, own),
      (jobs, retries) => new SharedAttempt(ranks, parts, batch, jobs, options).run(packed, retries),
    ),
  );
}

async function beginTogether(
  ranks: Ranks,
  { encoders, loss, planner, parameters, reduction, exchange }: StepParts,
  inputs: Promise<readonly unknown[]>,
  { signal, loss: given = {} }: StepOptions,
): Promise<{ batches: readonly never[]; batch: SharedBatch }> {
  const ofRows = isOfOwnRows(loss);
  const { result, all, bytes } = await ranks.together(
    BEGIN,
    async () => {
      throwIfAborted(signal);
      const batches = (await inputs) as readonly never[];
      const absent = absentTowers(encoders, batches);
      const { lengths, truncated } = planner.measure(batches, absent);
      const rows = lengths.map(({ length }) => length);
      const empty = rows.findIndex((count, tower) => count === 0 && !absent.includes(tower));
      if (empty >= 0) throw new GradCacheError('INPUT', `inputs[${empty}] has no row: each rank needs one`);
      if (ofRows) loss.checkOptions?.(given, rows, lengthsOf(encoders));
      return { batches, lengths, truncated, options: ofRows ? new Uint8Array() : packedOptions(given) };
    },
    {
      numbers: ({ lengths, truncated }) => [
        truncated,
        wayOfReducing(parameters, reduction),
        new SharedGradients(parameters.list).size,
        Number(exchange === 'ring'),
        ...lengths.map(({ length }) => length),
      ],
      bytes: ({ options }) => options,
    },
  );
  if (all.some(([, way]) => way !== all[0]![1]))
    throw new GradCacheError(
      'INPUT',
      'the ranks add up gradients in different ways: give all of them the same reduction and embeddingGradients, and optimizers with ranks or without',
    );
  const other = all.findIndex(([, , size]) => size !== all[0]![2]);
  if (other >= 0)
    throw new GradCacheError(
      'INPUT',
      `rank ${other} trains ${all[other]![2]} numbers, and rank 0 ${all[0]![2]}: give all ranks the same models`,
    );
  if (all.some(([, , , ring]) => ring !== all[0]![3]))
    throw new GradCacheError('INPUT', 'exchange is not the same on all ranks: give all of them the same one');
  if (reduction.overlap === true) await ranks.exchange((group) => group.openBeside(BEGIN));
  const rows = all.map(([, , , , ...each]) => each);
  if (rows.some(({ length }) => length !== encoders.length))
    throw new GradCacheError('INPUT', 'the ranks train different numbers of towers');
  const batch = {
    lengths: result.lengths,
    rows,
    truncated: sum(all.map(([truncated]) => truncated!)),
    loss: ofRows
      ? given
      : joinedOptions(loss, { own: given, packed: bytes, rank: ranks.rank }, rows, lengthsOf(encoders)),
  };
  const totals = encoders.map((_, tower) => sum(rows.map((each) => each[tower]!)));
  const without = totals.indexOf(0);
  if (without >= 0) throw new GradCacheError('INPUT', `inputs[${without}] has no row on any rank`);
  if (!ofRows) loss.checkOptions?.(batch.loss, totals, lengthsOf(encoders));
  return { batches: result.batches, batch };
}

/** Whether a rank computes its part of the loss with its own rows and their keyword arguments alone. */
const isOfOwnRows = ({ sharing }: LossWithGradients): boolean => sharing === 'rows' || sharing === 'own';

/** A number that ranks must have in common to add up gradients. */
function wayOfReducing(
  { list }: ParameterSet,
  { type = 'own', overlap = false, bucket = DEFAULT_BUCKET }: Reduction,
): number {
  const shares = buffersOf(list).filter(isTakenInShares).length;
  const { tables } = new SharedGradients(list);
  return 4 * (shares + 32 * tables + 1024 * bucket) + 2 * Number(overlap) + Number(type === 'bfloat16');
}

/** Numbers of a rank besides those of its gradients: the peak of memory, pairs, rows, tokens. */
const COUNTS = 4;

/** One attempt of a step over ranks. */
class SharedAttempt {
  readonly #ranks: Ranks;
  readonly #parts: StepParts;
  readonly #batch: SharedBatch;
  readonly #jobs: readonly Job[];
  readonly #options: StepOptions;
  readonly #gradients: SharedGradients;
  readonly #meter: StepMeter;
  #pass: Pass | null = null;
  #shared: SharedRows | null = null;

  constructor(
    ranks: Ranks,
    parts: StepParts,
    batch: SharedBatch,
    jobs: readonly Job[],
    options: StepOptions,
  ) {
    this.#ranks = ranks;
    this.#parts = parts;
    this.#batch = batch;
    this.#jobs = jobs;
    this.#options = options;
    this.#gradients = new SharedGradients(parts.parameters.list, parts.reduction);
    this.#meter = new StepMeter(parts.encoders[0]!.device);
  }

  /** @throws GradCacheError after which the gradients are as they were */
  async run(packed: Promise<PackedBatches>, retries: number): Promise<StepResult> {
    try {
      const trained = await this.#encode(packed, retries);
      const loss = await this.#compute(trained);
      const { sums, peak } = await this.#backward();
      const [pairs, sequences, tokens] = sums as [number, number, number];
      this.#parts.planner.learn(this.#jobs, this.#meter.memory());
      const { milliseconds } = this.#meter;
      const counts = { ...this.#pass!.counts, pairs, sequences, tokens, truncated: this.#batch.truncated };
      return { loss, ...counts, milliseconds, peakMemory: peak };
    } catch (error) {
      await this.#gradients.settle(this.#ranks);
      this.#pass?.undo();
      this.#shared?.restore();
      throw error;
    } finally {
      this.#pass?.dispose();
      this.#shared?.dispose();
      this.#gradients.dispose();
    }
  }

  get #retry(): { retry: (error: unknown) => boolean } {
    return { retry: (error) => this.#parts.planner.hasRoom(this.#jobs, error) };
  }

  /** How the loss sees the representations of other ranks; null: it is computed over those of each. */
  get #exchange(): Exchange | null {
    const { loss, exchange } = this.#parts;
    return isOfOwnRows(loss) ? null : exchange;
  }

  /** @returns the towers that are trained, on any rank */
  async #encode(packed: Promise<PackedBatches>, retries: number): Promise<boolean[]> {
    const { encoders, parameters } = this.#parts;
    const { lengths, rows, truncated, loss } = this.#batch;
    const counted = { ...this.#options, loss, redrawn: 0, truncated, retries };
    const { result, all } = await this.#ranks.together(
      ENCODE,
      async () => {
        const pass = await Pass.begin(this.#jobs, lengths, packed, parameters, counted);
        this.#pass = pass;
        this.#gradients.countOnce(this.#ranks);
        if (this.#parts.reduction.overlap === true) this.#gradients.reserve();
        this.#meter.start();
        await encodeAll(pass);
        for (const [tower, { length }] of lengths.entries())
          if (length === 0)
            pass.cache.fillNone(
              tower,
              towerLike(encoders, tower, (other) => lengths[other]!.length > 0),
            );
        await this.#meter.end('forward');
        const shared = new SharedRows(this.#ranks, pass.cache);
        this.#shared = shared;
        const several = shared.several;
        const described = shared.describe();
        if (this.#exchange === 'gather' && !several) shared.reserve(rows);
        const training = pass.trained();
        const trained = encoders.map((_, tower) => training.some((job) => job.tower === tower));
        return { several, numbers: [...trained.map(Number), ...described] };
      },
      { numbers: ({ numbers }) => numbers, ...this.#retry },
    );
    if (this.#exchange !== null) {
      const counts = SharedRows.countsOf(all.map((each) => each.slice(encoders.length)));
      if (this.#exchange === 'gather' && result.several)
        await this.#ranks.together(
          'taking memory for the representations of all ranks',
          () => this.#shared!.reserve(counts),
          this.#retry,
        );
      if (this.#exchange === 'gather') await this.#shared!.gather();
    }
    return encoders.map((_, tower) => all.some((each) => each[tower] === 1));
  }

  /** @returns the loss over the rows of all ranks */
  async #compute(trained: readonly boolean[]): Promise<number> {
    const { sharing } = this.#parts.loss;
    const { all } = await this.#ranks.together(LOSS, () => this.#lossOfRank(trained), {
      numbers: (loss) => [loss],
      ...this.#retry,
    });
    const ofRanks = all.map(([loss]) => loss!);
    const loss = (sharing ?? 'whole') === 'whole' ? ofRanks[0]! : sum(ofRanks);
    requireFinite(loss);
    if (sharing === 'parts' && this.#exchange === 'gather') await this.#shared!.scatter();
    await this.#meter.end('loss');
    return loss;
  }

  async #lossOfRank(trained: readonly boolean[]): Promise<number> {
    const { loss, weight } = this.#parts;
    const { rank } = this.#ranks;
    const { loss: options, rows } = this.#batch;
    const pass = this.#pass!;
    const { sequences, tokens } = pass.counts;
    const report = (): void => {
      tell('onProgress', this.#options.onProgress, {
        phase: 'loss',
        chunk: 1,
        chunks: 1,
        rows: sequences,
        tokens,
      });
    };
    const seen = sum(rows.flat());
    if (this.#exchange !== 'gather') {
      const inRing = this.#exchange === 'ring';
      const ofRows = loss.sharing === 'rows';
      const part = ofRows ? rows[rank]![0]! / sum(rows.map(([first]) => first!)) : 1;
      const share = ofRows ? undefined : lossShare(this.#ranks, LOSS, rows);
      const own = await pass.cache
        .compute(loss, options, weight * part, trained, share)
        .catch((error: unknown) => inLoss(error, inRing ? seen : sequences));
      pass.cache.releaseRepresentations();
      report();
      return own * part;
    }
    const value = await this.#shared!.compute(loss, options, weight, trained, LOSS).catch((error: unknown) =>
      inLoss(error, seen),
    );
    // All ranks have the whole: rank 0 counts it.
    if (loss.sharing !== 'parts' && rank > 0)
      new SharedGradients(new ParameterSet(loss.parameters()).list).zero();
    report();
    return value;
  }

  async #backwardOfRank(): Promise<void> {
    const { encoders, reduction } = this.#parts;
    const pass = this.#pass!;
    const early =
      reduction.overlap === true
        ? new EarlyReductions(
            this.#ranks,
            this.#gradients,
            encoders,
            pass
              .trained()
              .map(({ tower }) => tower)
              .toReversed(),
            reduction,
          )
        : null;
    try {
      early?.watch();
      if (this.#exchange === 'gather') this.#shared!.keepOwn();
      await backwardAll(pass, early);
    } catch (error) {
      await early?.all().catch(() => undefined);
      throw error;
    }
    await early?.all();
  }

  /** @returns the pairs, rows and tokens of all ranks, and the greatest peak of memory */
  async #backward(): Promise<{ sums: number[]; peak: number }> {
    const { all } = await this.#ranks.together(
      BACKWARD,
      async () => {
        await this.#backwardOfRank();
        const present = this.#gradients.prepare();
        await this.#meter.end('backward');
        const { pairs, sequences, tokens } = this.#pass!.counts;
        return [this.#meter.memory().peak, pairs, sequences, tokens, ...present];
      },
      { numbers: (numbers) => numbers, ...this.#retry },
    );
    await this.#gradients.reduce(
      this.#ranks,
      all.map((each) => each.slice(COUNTS)),
    );
    await this.#meter.end('backward');
    const sums = [1, 2, 3].map((place) => sum(all.map((each) => each[place]!)));
    return { sums, peak: Math.max(...all.map(([peak]) => peak!)) };
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
