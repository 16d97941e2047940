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
import type { MetricsFile } from './metrics.js';
import type { HeldOut } from './objectives/objective.js';
import type { OutputLock } from './output-lock.js';

/** What a loop needs of a configuration. */
export interface LoopSettings {
  readonly output: string;
  readonly seed: number;
  readonly evaluation?: { readonly every?: number | undefined } | undefined;
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

  /** Which batch it is, in brackets: `(epoch 0, batch 3)`. */
  nameOf(batch: Batch): string;

  /** A sentence for the user: what in a batch makes its step non-finite. */
  explainNonFinite(batch: Batch): Promise<string>;

  /** Reads the held-out data of the run; null where the configuration has none. */
  loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null>;

  /** Writes the model. */
  save(folder: string): Promise<void>;

  /** What a checkpoint keeps besides the model and the optimizer. */
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
  readonly lock: OutputLock;
  readonly metrics: MetricsFile;
  readonly emit: (event: EvaluationEvent | SavedEvent | StepEvent) => void;
  readonly signal: AbortSignal | undefined;
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

/** The loop over batches, and what happens between them. */
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
    const { config, lock, metrics, emit, signal } = parts;
    const heldOut = await trainee.loadHeldOut(signal);
    let step = parts.done;
    if (step < parts.steps) {
      for await (const batch of trainee.batches({ skip: step, signal })) {
        // Only now is the data known to be that of the run before. Nothing in its metrics file has been touched yet.
        await metrics.open();
        const started = performance.now();
        step++;
        await this.#update(step, batch);
        const last = step === parts.steps;
        if (heldOut !== null && (last || isDue(step, config.evaluation?.every)))
          await this.#evaluate(step, heldOut);
        if (isDue(step, config.checkpoint?.every)) await this.#checkpoint(step);
        const seconds = (performance.now() - started) / 1000;
        this.#pace = this.#pace === null ? seconds : 0.9 * this.#pace + 0.1 * seconds;
        if (last) break;
      }
    } else if (heldOut !== null) {
      await this.#evaluate(step, heldOut);
    }
    await metrics.open();
    const model = modelFolder(config.output);
    await lock.require();
    await trainee.save(model);
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
    const { emit, signal } = this.parts;
    this.#scores = await heldOut.measure(signal);
    emit({ type: 'evaluation', step, scores: this.#scores });
  }

  async #checkpoint(step: number): Promise<void> {
    const { trainee, parts } = this;
    const { config, lock, emit, optimizer } = parts;
    const folder = checkpointFolder(config.output, step);
    await lock.require();
    const { state, ...tensors } = await trainee.state();
    await writeCheckpoint(folder, (path) => trainee.save(path), {
      state: { step, ...state },
      optimizer: await optimizer.state(),
      ...tensors,
    });
    await pruneCheckpoints(config.output, config.checkpoint?.keep ?? 1);
    emit({ type: 'saved', step, folder });
  }
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && step % every === 0;
}
