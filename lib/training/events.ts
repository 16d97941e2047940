/** One chunk of the batch has passed through the encoder, or the loss was computed. */
export interface ChunkEvent {
  readonly type: 'chunk';
  /** The update that this belongs to, from 1. */
  readonly step: number;
  readonly phase: 'forward' | 'loss' | 'backward';
  /** From 1 to `chunks`. */
  readonly chunk: number;
  readonly chunks: number;
}

/** The run is set up and the first batch comes next. */
export interface StartEvent {
  readonly type: 'start';
  /** Updates in all, and those made before this run (more than 0 when resumed). */
  readonly steps: number;
  readonly done: number;
  /** Rows of data in one pass; null where they were not counted (`steps` given). */
  readonly rows: number | null;
  /**
   * Rows of the first pass that no update takes: what is left at the end of an epoch is a batch only where it fills half of
   * one. With `uniqueTexts`, texts that come again and again leave many. Null like `rows`.
   */
  readonly leftOver: number | null;
  /** Of the data: anchor, positive, hard negatives. */
  readonly columns: readonly string[];
  readonly parameters: number;
  readonly device: string;
  /** What the model computes in. */
  readonly precision: 'float32' | 'float64' | 'bfloat16';
  /** The checkpoint that the run goes on from. */
  readonly resumed: string | null;
}

/** One update was made. */
export interface StepEvent {
  readonly type: 'step';
  /** From 1 to `steps`. */
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  readonly loss: number;
  /** The learning rate of this update. */
  readonly lr: number;
  /** Global 2-norm of the gradients before clipping. */
  readonly gradNorm: number;
  /** Of the loss after this update; it changes only where it is learned. */
  readonly temperature: number;
  readonly pairs: number;
  readonly tokens: number;
  /** Texts cut to the maximal length. */
  readonly truncated: number;
  readonly chunks: number;
  /** Chunks whose graph was kept instead of being computed again. */
  readonly retained: number;
  readonly seconds: number;
  readonly pairsPerSecond: number;
  readonly tokensPerSecond: number;
  /** Peak of the device's memory (of the process on the CPU), bytes. */
  readonly peakMemory: number;
  /** Estimate for the steps that are left. */
  readonly secondsLeft: number;
}

/** Held-out data was measured. */
export interface EvaluationEvent {
  readonly type: 'evaluation';
  readonly step: number;
  /** For instance `{ 'recall@10': 0.61, 'mrr@10': 0.42, … }` or `{ spearman: 0.82, pearson: 0.83 }`. */
  readonly scores: Readonly<Record<string, number>>;
}

/** A checkpoint or the finished model was written, completely. */
export interface SavedEvent {
  readonly type: 'saved';
  readonly step: number;
  readonly folder: string;
}

/** A line of the data was skipped, as `onBadLine: 'skip'` asks. Reported while rows are read for the first time. */
export interface SkippedEvent {
  readonly type: 'skipped';
  /** File, line and reason. */
  readonly message: string;
}

/** How many lines were skipped in all; where none was, this event does not come. */
export interface SkippedTotalEvent {
  readonly type: 'skippedTotal';
  readonly lines: number;
}

/** What a person should know about the run: for instance a setting that is another than before the run was resumed. */
export interface NoteEvent {
  readonly type: 'note';
  readonly message: string;
}

/** Everything that a training run tells about itself. */
export type TrainEvent =
  | ChunkEvent
  | StartEvent
  | StepEvent
  | EvaluationEvent
  | SavedEvent
  | SkippedEvent
  | SkippedTotalEvent
  | NoteEvent;

/** What a run ended with. */
export interface TrainResult {
  /** Updates made in all, those before a resume included. */
  readonly steps: number;
  /** Loss of the last update; null when a resumed run had nothing left to do. */
  readonly loss: number | null;
  /** The finished model: `output/model`. */
  readonly model: string;
  /** Of the loss at the end; it changes only where it is learned. */
  readonly temperature: number;
  /** The last scores on held-out data, or null where the configuration has none. */
  readonly scores: Readonly<Record<string, number>> | null;
  /** Lines of the data that were skipped as bad, in what this call read of it. */
  readonly skipped: number;
}
