import type { Shares } from '../../data/deal.js';
import type { Label } from '../../data/labels.js';
import type { Hardest } from '../../evaluation/hardest.js';
import type { StoredTensor } from '../../safetensors/safetensors.js';
import type { Parameter } from '../../tensor/tensor.js';
import type { ModelSnapshot } from '../../model-folder/model-snapshot.js';
import type { ChunkState } from '../checkpoint.js';
import type { ChunkEvent, StepEvent } from '../events.js';
import type { NothingLeft } from '../passed-over.js';
import type { BatchIds } from '../../data/row-ids.js';

/**
 * What a run trains: a model, the loss of a batch, and held-out measures. A run knows its objective only by this interface.
 */
export interface Objective {
  /** The device of the model, and the type it computes in. */
  readonly device: string;
  readonly precision: 'float32' | 'float64' | 'bfloat16' | 'tf32';
  /** The loss divides similarities by it; a learned one has the value of the last update. Null for a loss that has none. */
  readonly temperature: number | null;

  /** What the user should know before the first step. */
  readonly notes: readonly string[];

  /** Everything that the optimizer updates. */
  parameters(): readonly Parameter[];

  /** The most tokens of a text. */
  readonly maxLength: number;

  /**
   * Prepares the texts of a batch for {@link Objective.step}, while the previous batch is computed.
   *
   * @param length the most tokens of a text in this batch; default: {@link Objective.maxLength}
   * @param place which batch it is, and which of its rows are to be prepared; draws for it follow from which batch it is
   */
  tokenize(texts: Texts, length: number | undefined, place: BatchPlace): Promise<Prepared>;

  /**
   * Computes the loss of a batch and adds its gradients to those of the parameters.
   *
   * @param inputs what {@link Objective.tokenize} made of the texts
   * @returns also that nothing in the batch is left to train on
   * @throws GradCacheError `ABORTED` when the signal fires, `NON_FINITE`, `OUT_OF_MEMORY`; the gradients are then restored
   */
  step(inputs: Prepared, texts: Texts, options: ObjectiveStepOptions): Promise<ObjectiveStep | NothingLeft>;

  /** How many candidates the rows of a batch are to have beside those of the batch; absent: none. Before its step. */
  candidatesBeside?(texts: Texts, ids: BatchIds): number;

  /** A sentence for the user: which texts of a batch make its step non-finite, or that none does. */
  explainNonFinite(texts: Texts): Promise<string>;

  /**
   * Reads the held-out data of the run; null where the configuration has none. All ranks measure it together.
   *
   * @param signal ends the reading
   */
  loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null>;

  /** Writes the model. */
  snapshot(): Promise<ModelSnapshot>;

  /** The objective's state for a checkpoint, without the model. */
  state(): Promise<ObjectiveState>;

  dispose(): void;
}

/** A batch that is ready for its step: token ids, or pictures. What it is, its objective alone knows. */
export type Prepared = unknown;

/** Which batch of a run it is: counted from 0, like its epoch. */
export interface BatchPlace {
  readonly epoch: number;
  readonly index: number;
  /** The data set that it is of, where there are several. */
  readonly set?: number | undefined;
  /** The rows that this rank takes; undefined: all. */
  readonly rows?: Uint32Array | undefined;
}

/** The texts of a batch by column. */
export type Texts = Readonly<Record<string, readonly string[]>>;

/** Options of one step. */
export interface ObjectiveStepOptions {
  /** The number of the update, from 1, and of all updates; null while these are being counted. */
  readonly step: number;
  readonly steps: number | null;
  /** The label of each row of `texts`; undefined without a column of them. */
  readonly labels: readonly Label[] | undefined;
  /** The ids of each row of `texts`; undefined without a column of them. */
  readonly ids: BatchIds;
  /** How the rows of `texts` are dealt out to ranks; null where this process has all. */
  readonly shares: Shares | null;
  readonly signal: AbortSignal | undefined;
  /** Seed of the masks of dropout. */
  readonly seed: number;
  /** Called with the progress of the step. */
  readonly onProgress: (progress: Pick<ChunkEvent, 'phase' | 'chunk' | 'chunks'>) => void;
}

/** What a step did. */
export type ObjectiveStep = Pick<
  StepEvent,
  'loss' | 'pairs' | 'tokens' | 'truncated' | 'maskedRows' | 'chunks' | 'retained' | 'peakMemory'
>;

/** Held-out data, read once, measured as often as asked. */
export interface HeldOut {
  /** What the scores are called, as far as that is known before they are measured. */
  readonly names?: readonly string[] | undefined;
  measure(signal: AbortSignal | undefined): Promise<Measured>;
}

/** What held-out data came to: scores by name, and which texts were hardest, where the measure tells. */
export interface Measured {
  readonly scores: Readonly<Record<string, number>>;
  readonly hardest?: Hardest | undefined;
}

/** What a checkpoint keeps of an objective. */
export interface ObjectiveState {
  /** Learned values of the loss, by name, and the memory of earlier batches. */
  readonly loss: ReadonlyMap<string, StoredTensor>;
  /** The chunk size, if measured or reduced; absent if a new run would begin with the same. */
  readonly chunk?: ChunkState | undefined;
  /** As {@link TrainerState.followed}. */
  readonly followed: boolean;
}

/** The entries of some rows, of a list with one for each row; all where no rows are given. */
export function ofRows<T>(list: readonly T[], rows: Uint32Array | undefined): readonly T[] {
  return rows === undefined ? list : Array.from(rows, (row) => list[row]!);
}
