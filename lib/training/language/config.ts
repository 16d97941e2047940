import type { AcrossConfig } from '../../language/across-kinds.js';
import type { NewLanguageModel } from '../../language/language-settings.js';
import type { OptimizerConfig } from '../../optim/optimizer-kinds.js';
import type { CheckpointConfig } from '../checkpoint-settings.js';

/**
 * The configuration of a run that trains a language model, in plain JSON, as `gradcache language train --config run.json` reads
 * it. {@link trainLanguage} fills in defaults.
 */
export interface LanguageTrainConfig {
  /** A folder of a language model, or the settings of a new one; its vocabulary comes from `vocabulary`. */
  readonly model: string | Partial<Omit<NewLanguageModel, 'vocabulary'>>;
  /** One text file or several, `.gz` too. */
  readonly data: string | readonly string[];
  /** What a document is, at whose beginning the state starts anew: a `'file'` (default), or a `'line'`. */
  readonly documents?: 'file' | 'line';
  /** The tokens of a new model: `'bytes'` (default), the `'characters'` of the data, or those of a tokenizer.json. */
  readonly vocabulary?:
    | 'bytes'
    | 'characters'
    | {
        /** Path of a tokenizer.json. */
        readonly tokenizer: string;
      };
  /** Folder for checkpoints, metrics.jsonl and the finished model. */
  readonly output: string;
  /** Parts of the data that are read side by side: the rows of a batch. */
  readonly rows: number;
  /** What a step reads. */
  readonly segment: {
    /** Tokens of a row in a segment. */
    readonly length: number;
    /** Segments of a step, which has one update. Default 1. */
    readonly count?: number;
    /**
     * Draws the length of each segment: around `length`, in one of twenty around half of it, with a deviation of 5 tokens. The
     * learning rate is scaled by the length. Default false.
     */
    readonly jitter?: boolean;
  };
  /** Where the gradient of the state that a segment hands on comes from. Default: nowhere. */
  readonly across?: AcrossConfig;
  /** Default: RAdam. */
  readonly optimizer?: OptimizerConfig;
  /** How the learning rate goes over the run. */
  readonly schedule?: {
    /** Default 'cosine'. */
    readonly kind?: 'linear' | 'cosine' | 'constant';
    /** Steps of warm-up, at most those of the run. Below 1: a fraction of all steps, rounded up. Default 0.1. */
    readonly warmup?: number;
  };
  /** Passes over the data. Default 1 if `steps` is not given. */
  readonly epochs?: number;
  /** Updates in all, over as many passes as needed. */
  readonly steps?: number;
  /** Seed of the lengths of segments, of dropout and of new weights. Default 1. */
  readonly seed?: number;
  /** Default 'auto': the first CUDA device that libtorch sees, else the CPU. */
  readonly device?: string;
  /** Type of the computation; weights, gradients and state are float32 (float64 for 'float64'). Default 'float32'. */
  readonly precision?: 'float32' | 'float64' | 'bfloat16';
  /** Measure on held-out text every so many steps, and at the end. */
  readonly evaluation?: {
    /** A text file, read as `data` is. */
    readonly data: string;
    /** Parts of it that are read side by side. Default: `rows`. */
    readonly rows?: number;
    /** To how many tokens before its own a token attends. Default: the model's setting. */
    readonly window?: number;
    /** Steps between two measurements. Default: only at the end. */
    readonly every?: number;
  };
  /**
   * When to write checkpoints; false: never. One is also written where the signal of {@link LanguageTrainHooks} ends the run,
   * after the last whole update. Default: every 1000 updates and every 15 minutes, of which the last 2 are kept.
   */
  readonly checkpoint?: boolean | CheckpointConfig;
  /**
   * Continue from the newest checkpoint in `output`, or from the named checkpoint folder. Settings that are not given come from
   * the checkpoint. `optimizer`, `schedule`, the length, `device`, `evaluation`, `checkpoint` and the names of the same data may
   * change. Another value of any other setting is refused.
   */
  readonly resume?: boolean | string;
}

/** The settings of a resumed run; those that are not given come from its checkpoint. */
export interface LanguageResumeConfig extends Partial<LanguageTrainConfig> {
  readonly output: string;
  readonly resume: true | string;
}
