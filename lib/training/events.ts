import type { Hardest } from '../evaluation/hardest.js';
import type { HubProgress } from '../hub/snapshot.js';

/** One chunk of the batch has passed through the encoder, or the loss was computed. */
export interface ChunkEvent {
  /** Which event it is. */
  readonly type: 'chunk';
  /** The update that this belongs to, from 1. */
  readonly step: number;
  /** The first pass, the loss, or the second pass. */
  readonly phase: 'forward' | 'loss' | 'backward';
  /** From 1 to `chunks`. */
  readonly chunk: number;
  /** Chunks of the phase. */
  readonly chunks: number;
}

/** The run is set up and the first batch comes next. */
export interface StartEvent {
  /** Which event it is. */
  readonly type: 'start';
  /** Updates in all; null where they are counted while the run trains. */
  readonly steps: number | null;
  /** Updates that were made before. */
  readonly done: number;
  /** Rows of data in one pass; null where they were not counted (`steps` given), or not yet. */
  readonly rows: number | null;
  /**
   * Rows of the first pass that are in no batch: rows left at the end of an epoch make a batch only if they fill half of one.
   * With `uniqueTexts`, texts that are repeated often leave many. Null like `rows`.
   */
  readonly leftOver: number | null;
  /** The columns of the data: anchor, positive, hard negatives. */
  readonly columns: readonly string[];
  /** Numbers that are trained. */
  readonly parameters: number;
  /** Where the model is. */
  readonly device: string;
  /** Processes that train together. */
  readonly ranks: number;
  /** Type of the computation. */
  readonly precision: 'float32' | 'float64' | 'bfloat16' | 'tf32';
  /** The checkpoint that the run continues. */
  readonly resumed: string | null;
  /** All settings of the run, with their defaults. Models and data of the Hugging Face hub are named with their commits. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** What every run tells of an update that was made. */
export interface UpdateEvent {
  /** Which event it is. */
  readonly type: 'step';
  /** From 1 to `steps`. */
  readonly step: number;
  /** Updates in all; null while they are being counted. */
  readonly steps: number | null;
  /** The learning rate of this update. */
  readonly lr: number;
  /** Global 2-norm of the gradients before clipping. */
  readonly gradNorm: number;
  /** How long it took. */
  readonly seconds: number;
  /** Estimated seconds for the remaining steps; null while these are being counted. */
  readonly secondsLeft: number | null;
}

/** One update was made. */
export interface StepEvent extends UpdateEvent {
  /** The pass over the data, from 0. */
  readonly epoch: number;
  /** The data set that its batch is of, where there are several and an update has one batch. */
  readonly dataset?: string;
  /** The loss of the batch, or the mean of those of several. */
  readonly loss: number;
  /** Temperature of the loss after this update; it changes only if it is learned. Null for a loss that has none. */
  readonly temperature: number | null;
  /** Rows of the batch. */
  readonly pairs: number;
  /** Tokens of all columns; pictures have none. */
  readonly tokens: number;
  /** Texts cut to the maximal length. */
  readonly truncated: number;
  /**
   * Rows that are masked against every other of their batch, as they share an id or a text with each (`ids`, `loss.maskDuplicates`):
   * they teach nothing. With a memory: those that have no row of it as a negative either. Absent: none.
   */
  readonly maskedRows?: number;
  /** Chunks of all towers. */
  readonly chunks: number;
  /** Chunks whose graph was kept instead of being computed again. */
  readonly retained: number;
  /** Rows a second. */
  readonly pairsPerSecond: number;
  /** Tokens a second. */
  readonly tokensPerSecond: number;
  /** Peak of the device's memory (of the process on the CPU), bytes. */
  readonly peakMemory: number;
}

/** Held-out data was measured. */
export interface EvaluationEvent {
  /** Which event it is. */
  readonly type: 'evaluation';
  /** The update after which it was measured. */
  readonly step: number;
  /** For instance `{ 'recall@10': 0.61, 'mrr@10': 0.42, … }` or `{ spearman: 0.82, pearson: 0.83 }`. */
  readonly scores: Readonly<Record<string, number>>;
  /**
   * What the model found hardest of that data, at most 20 texts or pairs. Not in metrics.jsonl: hardest.json of the output
   * folder has that of the last evaluation.
   */
  readonly hardest?: Hardest | undefined;
}

/** A checkpoint or the finished model was written, completely. A checkpoint is written while later steps are made. */
export interface SavedEvent {
  /** Which event it is. */
  readonly type: 'saved';
  /** Updates that are in it. */
  readonly step: number;
  /** Where it is. */
  readonly folder: string;
  /** Of the finished model, where `evaluation.best` names a score: the update after which it was the best. */
  readonly bestOf?: number | undefined;
  /** Seconds for which no update was made for it. */
  readonly waited: number;
}

/**
 * A line of the data was skipped, or a picture that cannot be decoded with its row, as `onBadLine: 'skip'` asks. The first ten are
 * reported, while rows are read for the first time; all are counted.
 */
export interface SkippedEvent {
  /** Which event it is. */
  readonly type: 'skipped';
  /** File, line and reason. Of a picture its file and the reason. */
  readonly message: string;
}

/** How many lines and pictures were skipped in all; not sent if none was. */
export interface SkippedTotalEvent {
  /** Which event it is. */
  readonly type: 'skippedTotal';
  /** How many lines. */
  readonly lines: number;
  /** The lines of each file that had any. */
  readonly files: Readonly<Record<string, number>>;
  /** How many pictures could not be decoded. Absent: none. */
  readonly pictures?: number | undefined;
}

/** A message for the user, such as a setting that has changed since the run was interrupted. */
export interface NoteEvent {
  /** Which event it is. */
  readonly type: 'note';
  /** The message. */
  readonly message: string;
}

/** More of a model or a data set of the Hugging Face hub has come. Not in metrics.jsonl. */
export interface FetchEvent extends HubProgress {
  /** Which event it is. */
  readonly type: 'fetch';
}

/** The data is read to find how many updates the run makes. Told about once a second, and not in metrics.jsonl. */
export interface ReadingEvent {
  /** Which event it is. */
  readonly type: 'reading';
  /** Rows so far, those of later passes among them. */
  readonly rows: number;
}

/** Every event of a training run. */
export type TrainEvent =
  | FetchEvent
  | ReadingEvent
  | ChunkEvent
  | StartEvent
  | StepEvent
  | EvaluationEvent
  | SavedEvent
  | SkippedEvent
  | SkippedTotalEvent
  | NoteEvent;

/** The best measurement of a run. */
export interface BestMeasurement {
  /** The update after which it was made. */
  readonly step: number;
  /** The score that decides. */
  readonly score: string;
  /** All scores of that measurement. */
  readonly scores: Readonly<Record<string, number>>;
}

/** The result of a run. */
export interface TrainResult {
  /** Updates made in all, those before a resume included. */
  readonly steps: number;
  /** Loss of the last update; null when a resumed run had nothing left to do. */
  readonly loss: number | null;
  /** The finished model: `output/model`. */
  readonly model: string;
  /** Temperature of the loss at the end; it changes only if it is learned. Null for a loss that has none. */
  readonly temperature: number | null;
  /** The last scores on held-out data, or null where the configuration has none. */
  readonly scores: Readonly<Record<string, number>> | null;
  /** The scores before the first update, or null where they were not measured. */
  readonly before: Readonly<Record<string, number>> | null;
  /** The best measurement, whose model `model` is; null unless `evaluation.best` names a score. */
  readonly best: BestMeasurement | null;
  /** Bad lines and pictures that were skipped in the data that this call read. */
  readonly skipped: number;
}
