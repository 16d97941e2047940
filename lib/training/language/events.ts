import type { AcrossSegments } from '../../language/across-segments.js';
import type { EvaluationEvent, NoteEvent, SavedEvent, UpdateEvent } from '../events.js';

type Gradients = Awaited<ReturnType<AcrossSegments['step']>>['gradients'];

/** The run is set up and the first segment comes next. */
export interface LanguageStartEvent {
  /** Which event it is. */
  readonly type: 'start';
  /** Updates in all, and those made before this run (more than 0 when resumed). */
  readonly steps: number;
  /** Updates that were made before. */
  readonly done: number;
  /** Documents of the data. */
  readonly documents: number;
  /** Tokens of the data. */
  readonly tokens: number;
  /** How many tokens there are to predict. */
  readonly vocabulary: number;
  /** Numbers that are trained. */
  readonly parameters: number;
  /** Where the model is. */
  readonly device: string;
  /** Processes that train together. */
  readonly ranks: number;
  /** Type of the computation. */
  readonly precision: 'float32' | 'float64' | 'bfloat16';
  /** The checkpoint that the run continues. */
  readonly resumed: string | null;
}

/** One update was made. */
export interface LanguageStepEvent extends UpdateEvent {
  /** Updates in all. */
  readonly steps: number;
  /** Estimated seconds for the remaining steps. */
  readonly secondsLeft: number;
  /** The pass over the data, from 0. */
  readonly epoch: number;
  /** Mean negative log-likelihood of a token, in nats. */
  readonly loss: number;
  /** Which gradients came back from one segment to the one before. */
  readonly gradients: Gradients;
  /** The squared error of predicted gradients; null where none are predicted. */
  readonly synthesiserLoss: number | null;
  /** Tokens that were predicted. */
  readonly tokens: number;
  /** Segments of the step. */
  readonly segments: number;
  /** Segments that were run once. */
  readonly retained: number;
  /** Tokens a second. */
  readonly tokensPerSecond: number;
  /** Peak of the device's memory (of the process on the CPU), bytes. */
  readonly peakMemory: number;
}

/** Every event of a run that trains a language model. */
export type LanguageTrainEvent =
  LanguageStartEvent | LanguageStepEvent | EvaluationEvent | SavedEvent | NoteEvent;

/** The result of a run. */
export interface LanguageTrainResult {
  /** Updates made in all, those before a resume included. */
  readonly steps: number;
  /** Loss of the last update; null when a resumed run had nothing left to do. */
  readonly loss: number | null;
  /** The finished model: `output/model`. */
  readonly model: string;
  /** The last scores on held-out text, or null where the configuration has none. */
  readonly scores: Readonly<Record<string, number>> | null;
}
