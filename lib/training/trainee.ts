import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import type { TraineeState } from './checkpoint.js';
import type { UpdateEvent } from './events.js';
import type { HeldOut } from './objectives/objective.js';
import type { NothingLeft } from './passed-over.js';

/** What a loop trains. It takes batches, and decides what a step is and tells. */
export interface Trainee<Batch, Step, StepEvent> {
  /** The batches of all updates in order, without the first `skip`. */
  batches(options: { skip: number; signal: AbortSignal | undefined }): AsyncIterable<Batch>;

  /**
   * Computes the loss of a batch and adds its gradients to those of the parameters.
   *
   * @returns also that nothing in the batch is left to train on: an update of such batches alone is passed over
   * @throws GradCacheError `ABORTED` when the signal fires, `NON_FINITE`, `OUT_OF_MEMORY`; the gradients are then restored
   */
  step(batch: Batch, options: UpdateOptions): Promise<Step | NothingLeft>;

  /** The pass over the data that a batch is in; absent: the run has none. */
  epochOf?(batch: Batch): number;

  /** What the learning rate of a batch's update is multiplied by; absent: 1. */
  lrScale?(batch: Batch): number;

  /** What the steps of one update come to together; absent: an update has one batch. */
  together?(steps: readonly Step[]): Step;

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

  /** Whether each of several ranks has a part of its state, which one alone cannot tell; absent: no. */
  readonly divided?: boolean;

  /** The model as it is now, to be written while the run goes on. */
  snapshot(): Promise<ModelSnapshot>;

  /**
   * What a checkpoint keeps besides the model and the optimizer, on the host.
   *
   * @param how.alone whether this rank alone asks: the others no longer take part
   */
  state(how: { readonly alone: boolean }): Promise<TraineeState>;
}

/** Options of the step of one update. */
export interface UpdateOptions {
  /** The number of the update, from 1, and of all updates; null while these are being counted. */
  readonly step: number;
  readonly steps: number | null;
  readonly signal: AbortSignal | undefined;
  /** Seed of the masks of dropout. */
  readonly seed: number;
}
