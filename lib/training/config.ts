import type { Quoting } from '../data/quoting.js';
import type { LossConfig } from '../losses/loss-kinds.js';
import type { OptimizerConfig } from '../optim/optimizer-kinds.js';

/**
 * Everything a training run is made from. It is plain JSON: what `gradcache train --config run.json` reads. {@link train}
 * fills in defaults.
 */
export interface TrainConfig {
  /** A model folder, or a model to be made with random weights. */
  readonly model: string | NewModel;
  /** One file of pairs or several: .jsonl, .csv, .tsv or .parquet, gzip too. */
  readonly data: string | readonly string[];
  /**
   * Columns of the anchor, the positive, and any hard negatives. Default: anchor, positive, and those of negative,
   * negative2 (or negative_2), … that any of a file's first 100 rows has a value for; every row needs a text in them then.
   */
  readonly columns?: readonly string[];
  /** Format of the files; by default told from their names. */
  readonly format?: 'jsonl' | 'csv' | 'tsv' | 'parquet';
  /** For CSV or TSV files whose first line is a row: the names of its fields, or false where they are `columns`. Default true. */
  readonly header?: boolean | readonly string[];
  /** Whether fields of CSV or TSV files can be in quotes. Default 'csv' for CSV, 'auto' for TSV. */
  readonly quoting?: Quoting;
  /** Stop at a line that cannot be read, or count and skip it. Default 'throw'. */
  readonly onBadLine?: 'throw' | 'skip';
  /** Folder for checkpoints, metrics.jsonl and the finished model. */
  readonly output: string;
  /** Pairs in a batch: how many the loss compares. */
  readonly batch: number;
  /**
   * How much of a batch is in the encoder at once: it bounds memory. The gradient does not depend on it, but for the masks
   * of dropout. Default 'auto'.
   */
  readonly chunk?: 'auto' | { readonly sequences: number } | { readonly tokens: number };
  /**
   * Graphs of chunks to keep instead of computing them again: as many as fit into a number of bytes, into what the device
   * has left ('auto'), or the last chunk's ('last', the default), which takes memory only during the loss.
   */
  readonly retain?: number | 'auto' | 'last';
  /** Default: InfoNCE. */
  readonly loss?: LossConfig;
  /** Default: AdamW. */
  readonly optimizer?: OptimizerConfig;
  readonly schedule?: {
    /** Default 'linear'. */
    readonly kind?: 'linear' | 'cosine' | 'constant';
    /** Steps of warm-up, at most those of the run, or a part of all steps, rounded up, where below 1. Default 0.1. */
    readonly warmup?: number;
  };
  /** Passes over the data. Default 1 where `steps` is not given. */
  readonly epochs?: number;
  /** Updates in all, over as many passes as that takes. */
  readonly steps?: number;
  /** Seed of the order of the data, of dropout and of new weights. Default 1. */
  readonly seed?: number;
  /** The order of rows: random, all rows in memory (true, the default); random within `buffer` rows; the file's (false). */
  readonly shuffle?: boolean | { readonly buffer: number };
  /** Keep a text from being twice in a batch, where it would be its own negative. Default true. */
  readonly uniqueTexts?: boolean;
  /** Default 'auto': the first CUDA device where libtorch sees one, or the CPU. */
  readonly device?: string;
  /** Type of the computation; weights and optimizer state are float32 (float64 for 'float64'). Default 'float32'. */
  readonly precision?: 'float32' | 'float64' | 'bfloat16';
  /**
   * Tokens of a text in training, special ones included, up to the model's positions; longer texts are cut. Default: the
   * model's. The saved folder keeps the limit of the folder that was trained; a model made from scratch gets this one.
   */
  readonly maxLength?: number;
  /** Dropout probability in place of the model's. */
  readonly dropout?: number;
  /**
   * By column, what is put before its texts: the name of one of the model's prompts, or the words themselves. A column that
   * is not named gets nothing, whatever the model's default prompt is. Hard negatives that no one names get the prompt of
   * the positives.
   */
  readonly prompts?: Readonly<Record<string, string | PromptWords>>;
  /** Measure on held-out data every so many steps, and at the end. */
  readonly evaluation?: EvaluationConfig;
  /** Write a checkpoint every so many steps, keeping the last few (default 2); older ones are removed with all in them. */
  readonly checkpoint?: { readonly every: number; readonly keep?: number };
  /**
   * Go on from the newest checkpoint in `output`, or from the checkpoint folder named. With no checkpoint in `output` the
   * run begins anew, unless there is a finished model, which it would replace: that is refused. A run that is finished is left
   * as it is, unless `steps` or `epochs` are more than before.
   *
   * A checkpoint holds the settings of its run: those that are not given now are taken from it. Another value is refused
   * for what decides the batches or the gradient; `optimizer`, `schedule`, the length, `device`, `chunk`, `retain`,
   * `evaluation`, `checkpoint`, and the names and format of the same data may change, and the run tells each change.
   */
  readonly resume?: boolean | string;
}

/** The settings of a run that goes on: all that are not given are those of its checkpoint. */
export interface ResumeConfig extends Partial<TrainConfig> {
  readonly output: string;
  readonly resume: true | string;
}

/** The words of a prompt. They are saved with the model, for `evaluate` and `embed` to use by name. */
export interface PromptWords {
  /** Put before every text as it stands, for instance 'query: '. */
  readonly prefix: string;
  /** What the model calls it from then on. Default: 'query' for the first column, 'document' for the others. */
  readonly name?: string;
}

/** A model that starts from random weights. */
export interface NewModel {
  /** The architecture, as in a transformers config.json: the object, or the path of the file. */
  readonly config: string | Readonly<Record<string, unknown>>;
  /** Path of a tokenizer.json. */
  readonly tokenizer: string;
  /** Default 'mean'. */
  readonly pooling?: 'mean' | 'cls' | 'max' | 'last';
  /** Representations of length 1. Default true. */
  readonly normalize?: boolean;
}

/** Held-out data of a run. */
export interface EvaluationConfig {
  /** Default 'retrieval'. */
  readonly task?: 'retrieval' | 'sts';
  /** File of pairs: anchor and positive for retrieval; two sentences and a score for sts. */
  readonly data: string;
  /** Default: the first two of the data that is trained on, or ['sentence1', 'sentence2', 'score']. */
  readonly columns?: readonly string[];
  /** By default told from the file's name. */
  readonly format?: 'jsonl' | 'csv' | 'tsv' | 'parquet';
  /** False for a CSV or TSV file whose first line is a row: `columns` then names its fields. Default true. */
  readonly header?: boolean | readonly string[];
  readonly quoting?: Quoting;
  /** Steps between two measurements. Default: only at the end. */
  readonly every?: number;
}
