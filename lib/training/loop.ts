import type { Ranks } from '../distributed/ranks.js';
import { onEach, onFirst } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { drawSeed } from '../options/seeds.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { Schedule } from '../optim/schedules.js';
import {
  checkpointFolder,
  modelFolder,
  pruneCheckpoints,
  writeCheckpoint,
  type Checkpoint,
  type TrainerState,
} from './checkpoint.js';
import type { EvaluationEvent, SavedEvent, UpdateEvent } from './events.js';
import { writeHardest } from './hardest-file.js';
import type { MetricsFile } from './metrics.js';
import type { HeldOut } from './objectives/objective.js';
import type { OutputLock } from './output-lock.js';

/** What a loop needs of a configuration. */
export interface LoopSettings {
  readonly output: string;
  readonly seed: number;
  readonly evaluation?:
    { readonly every?: number | undefined; readonly before?: boolean | undefined } | undefined;
  readonly checkpoint?: { readonly every: number; readonly keep: number } | undefined;
}

/** What a loop trains. It takes batches, and decides what a step is and tells. */
export interface Trainee<Batch, Step, StepEvent> {
  /** The batches of all updates in order, without the first `skip`. */
  batches(options: { skip: number; signal: AbortSignal | undefined }): AsyncIterable<Batch>;

  /**
   * Computes the loss of a batch and adds its gradients to those of the parameters.
   *
   * @throws GradCacheError `ABORTED` when the signal fires, `NON_FINITE`, `OUT_OF_MEMORY`; the gradients are then restored
   */
  step(batch: Batch, options: UpdateOptions): Promise<Step>;

  /** What the learning rate of a batch's update is multiplied by; absent: 1. */
  lrScale?(batch: Batch): number;

  /** What a step tells, once the update was made. */
  event(batch: Batch, step: Step, update: UpdateEvent): StepEvent;

  /** Compares what all ranks must have in common before the first step, and after some. `step`: updates made. */
  compare?(batch: Batch, step: number): Promise<void>;

  /** Which batch it is, in brackets: `(epoch 0, batch 3)`. */
  nameOf(batch: Batch): string;

  /** A sentence for the user: what in a batch makes its step non-finite. */
  explainNonFinite(batch: Batch): Promise<string>;

  /** Reads the held-out data of the run; null where the configuration has none. All ranks measure it together. */
  loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null>;

  /** Writes the model. */
  save(folder: string): Promise<void>;

  /** What a checkpoint keeps besides the model and the optimizer. Called on every rank. */
  state(): Promise<Omit<Checkpoint, 'optimizer' | 'state'> & { readonly state: Omit<TrainerState, 'step'> }>;
}

/** Options of the step of one update. */
export interface UpdateOptions {
  /** The number of the update, from 1, and of all updates. */
  readonly step: number;
  readonly steps: number;
  readonly signal: AbortSignal | undefined;
  /** Seed of the masks of dropout. */
  readonly seed: number;
}

/** A run whose folder is locked. */
export interface LoopParts<StepEvent> {
  readonly config: LoopSettings;
  /** Null on ranks that write nothing. */
  readonly lock: OutputLock | null;
  readonly metrics: MetricsFile;
  readonly emit: (event: EvaluationEvent | SavedEvent | StepEvent) => void;
  readonly signal: AbortSignal | undefined;
  /** The processes that take each step together, or null. */
  readonly ranks: Ranks | null;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  /** Updates in all, and those made before. */
  readonly steps: number;
  readonly done: number;
}

/** What a loop came to. */
export interface LoopResult {
  readonly steps: number;
  readonly loss: number | null;
  readonly model: string;
  readonly scores: Readonly<Record<string, number>> | null;
}

/** After so many steps ranks compare their weights. */
const STEPS_BETWEEN_COMPARISONS = 100;

/** The loop over batches, and what happens between them. Of several ranks the first writes files. */
export class Loop<Batch, Step extends { readonly loss: number }, StepEvent> {
  #loss: number | null = null;
  #scores: Readonly<Record<string, number>> | null = null;
  /** Moving average of the seconds of a step, evaluation and checkpoints included. */
  #pace: number | null = null;

  constructor(
    readonly trainee: Trainee<Batch, Step, StepEvent>,
    readonly parts: LoopParts<StepEvent>,
  ) {}

  async run(): Promise<LoopResult> {
    const { trainee, parts } = this;
    const { config, lock, metrics, emit, signal, ranks } = parts;
    const heldOut = await onEach(ranks, 'reading held-out data', () => trainee.loadHeldOut(signal));
    let step = parts.done;
    let begun = false;
    const openMetrics = () => onFirst(ranks, 'opening the metrics', () => metrics.open());
    if (step < parts.steps) {
      for await (const batch of trainee.batches({ skip: step, signal })) {
        if (!begun) {
          await trainee.compare?.(batch, step);
          // Only now is the data known to be that of the run before. Nothing in its metrics file has been touched yet.
          await openMetrics();
          begun = true;
          if (step === 0 && heldOut !== null && config.evaluation?.before === true)
            await this.#evaluate(0, heldOut);
        }
        const started = performance.now();
        step++;
        await this.#update(step, batch);
        const saves = isDue(step, config.checkpoint?.every);
        if (saves || isDue(step, STEPS_BETWEEN_COMPARISONS)) await trainee.compare?.(batch, step);
        const last = step === parts.steps;
        if (heldOut !== null && (last || isDue(step, config.evaluation?.every)))
          await this.#evaluate(step, heldOut);
        if (saves) await this.#checkpoint(step);
        const seconds = (performance.now() - started) / 1000;
        this.#pace = this.#pace === null ? seconds : 0.9 * this.#pace + 0.1 * seconds;
        if (last) break;
      }
    } else if (heldOut !== null) {
      await this.#evaluate(step, heldOut);
    }
    await openMetrics();
    const model = modelFolder(config.output);
    await onFirst(ranks, 'writing the model', async () => {
      await lock?.require();
      await trainee.save(model);
    });
    emit({ type: 'saved', step, folder: model });
    return { steps: step, loss: this.#loss, model, scores: this.#scores };
  }

  async #update(step: number, batch: Batch): Promise<void> {
    const { trainee, parts } = this;
    const { config, emit, signal, optimizer, steps } = parts;
    const lr = parts.schedule(step - 1) * (trainee.lrScale?.(batch) ?? 1);
    const started = performance.now();
    try {
      // Made from the number of the step, so that a resumed run drops out what an uninterrupted one does.
      const seed = drawSeed('update', config.seed, step);
      const result = await trainee.step(batch, { step, steps, signal, seed });
      if (!Number.isFinite(result.loss))
        throw new GradCacheError('NON_FINITE', `The loss is ${result.loss}.`);
      optimizer.lr = lr;
      const { gradNorm } = await optimizer.step();
      const seconds = (performance.now() - started) / 1000;
      this.#loss = result.loss;
      const secondsLeft = (steps - step) * (this.#pace ?? seconds);
      emit(trainee.event(batch, result, { type: 'step', step, steps, lr, gradNorm, seconds, secondsLeft }));
    } catch (error) {
      if (!(error instanceof GradCacheError) || error.code !== 'NON_FINITE') throw error;
      const where = await trainee.explainNonFinite(batch);
      throw new GradCacheError(
        'NON_FINITE',
        `Step ${step} ${trainee.nameOf(batch)} was not made, at learning rate ${lr}: ${error.message} ${where}`,
        { cause: error },
      );
    }
  }

  async #evaluate(step: number, heldOut: HeldOut): Promise<void> {
    const { config, lock, emit, signal, ranks } = this.parts;
    const { scores, hardest } = await heldOut.measure(signal);
    this.#scores = ranks === null ? scores : await ofFirst(ranks, scores);
    if (hardest !== undefined)
      await onFirst(ranks, 'writing what was hardest', async () => {
        await lock?.require();
        await writeHardest(config.output, { step, ...hardest });
      });
    emit({ type: 'evaluation', step, scores: this.#scores, ...(hardest && { hardest }) });
  }

  async #checkpoint(step: number): Promise<void> {
    const { trainee, parts } = this;
    const { config, lock, emit, optimizer, ranks } = parts;
    const folder = checkpointFolder(config.output, step);
    const { state, ...tensors } = await trainee.state();
    const divided = optimizer.divided ? await optimizer.state() : null;
    await onFirst(ranks, 'writing a checkpoint', async () => {
      await lock?.require();
      await writeCheckpoint(folder, (path) => trainee.save(path), {
        state: { step, ...state },
        optimizer: divided ?? (await optimizer.state()),
        ...tensors,
      });
      await pruneCheckpoints(config.output, config.checkpoint?.keep ?? 1);
    });
    emit({ type: 'saved', step, folder });
  }
}

/** The scores of rank 0, by which all go on: those of others may be rounded in another way. */
async function ofFirst(ranks: Ranks, own: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  const [first = []] = await ranks.numbers(Object.values(own));
  return Object.fromEntries(Object.keys(own).map((name, place) => [name, first[place]!]));
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && step % every === 0;
}
