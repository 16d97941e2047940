import type { CheckpointConfig } from './checkpoint-settings.js';
import type { TokenPooling } from '../model-folder/pooling.js';
import type { Quoting } from '../data/quoting.js';
import type { DataFormat } from '../data/record-options.js';
import type { LossConfig } from '../losses/loss-kinds.js';
import type { LoraOptions } from '../encoders/lora-options.js';
import type { LateInteraction } from '../model-folder/late-interaction.js';
import type { EvaluationConfig } from './evaluation-config.js';
import type { OptimizerConfig } from '../optim/optimizer-kinds.js';

/**
 * The configuration of a training run, in plain JSON, as `gradcache train --config run.json` reads it. {@link train} fills
 * in defaults.
 */
export interface TrainConfig {
  /** A model folder, one of the Hugging Face hub (`hf:owner/name@revision`), or a new model with random weights. */
  readonly model: string | NewModel;
  /**
   * The folder of a model of pictures, or its name on the Hugging Face hub, which is trained beside `model`, a text encoder: a ViT, or
   * the pictures' tower of CLIP or SigLIP. Their representations have one length. If `loss` does not say otherwise, they learn by
   * InfoNCE in both directions, with a temperature that begins at 0.07 and is learned. Default: that in the folder of `model`, such as a run with both has written, where `images` is given; CLIP and SigLIP
   * have both towers.
   */
  readonly imageModel?: string;
  /**
   * 'none' makes a model with a representation for each token, for losses of late interaction, of a folder whose model pools.
   * 'splade' makes a sparse encoder of a masked language model, as a loss called splade does by itself.
   * Of a model from random weights, its pooling. Default: the folder's, or 'mean'.
   */
  readonly pooling?: TokenPooling | 'none' | 'splade';
  /** How a model with a representation for each token reads queries, the first column, and documents, the others. */
  readonly lateInteraction?: LateInteractionConfig;
  /**
   * Puts a new head with so many labels on the model, which becomes a cross-encoder: for the losses of cross-encoders. Default:
   * the head that the model has; a new model gets one with a label.
   */
  readonly newHead?: number;
  /**
   * One file of pairs or several: .jsonl, .json, .csv or .tsv, gzip too, .parquet or .arrow; also a folder of such files or of
   * `save_to_disk`, a pattern such as `shards/*.parquet`, or `-` for standard input. `hf:owner/name/part:split` is a data set of the
   * Hugging Face hub: `part` is a configuration, folder or file of it, and the split `train` if none is named. Needed, unless
   * `datasets` takes its place.
   */
  readonly data?: string | readonly string[];
  /**
   * Several data sets in place of `data`. Each batch is of one of them, so that its negatives are of its own kind. All have the
   * same number of columns; `columns`, `label`, `weights`, `ids` and the layout of files hold for those that have none of their own.
   * Needs `shuffle: true`. Default: none, all files of `data` are one.
   */
  readonly datasets?: readonly DataSetConfig[];
  /**
   * How batches of `datasets` follow each other: in a random order, each set as often as it has batches ('proportional', the
   * default), or in turns until one set has no more ('round-robin').
   */
  readonly mixing?: 'proportional' | 'round-robin';
  /**
   * Columns of texts: the anchor, the positive, and any hard negatives, or what else the loss compares. Default: those usual
   * for the loss. For most losses these are anchor, positive, and each of negative, negative2 (or negative_2), … that has a
   * value in one of a file's first 100 rows. Every row then needs a text in them.
   */
  readonly columns?: readonly string[];
  /**
   * The column of paths of pictures, for CLIP and SigLIP, and for `imageModel`. A path begins in the folder of its data file; the other columns are
   * captions. If `loss` does not say otherwise, CLIP learns by InfoNCE in both directions, SigLIP by its own loss, from the temperature
   * and bias of the model, which are learned. Default: the first of `columns`, or `image`; none for a model of texts.
   */
  readonly images?: string;
  /**
   * Those of the columns, behind the anchor, whose rows have a list of texts: a JSON array, a list column of Parquet or Arrow, or in
   * CSV the text of one. Rows may have different numbers of positives, at least one, and of negatives. For infonce and
   * multiple-negatives-ranking. Default: none, or the positives and negatives that are lists, where no columns are named.
   */
  readonly lists?: readonly string[];
  /**
   * The column of the labels or scores that the loss needs. Default: the first of label, labels, score and scores that the
   * data has. Names of classes are numbered in the order of the data. A list of scores is a JSON list, or the text of one.
   */
  readonly label?: string;
  /**
   * The column that says how much each row counts, a number from 0, for a loss that takes weights: infonce and
   * multiple-negatives-ranking. Held-out rows of `evaluation.loss` need it too. Default: all the same.
   */
  readonly weights?: string;
  /**
   * Columns of ids, such as those of a row's documents: a text, a whole number or a list of them. Rows of a batch that share an id, in
   * whatever of these columns, or a text, are no negatives of each other: `loss.maskDuplicates`, which this turns on. An empty value,
   * null or [] is no id. An id is known by its text: 7 and "7" are one, and "7.0" is another. Held-out rows of `evaluation.loss` have
   * them too, in the same columns unless `evaluation.ids` names others. Default: none.
   */
  readonly ids?: string | readonly string[];
  /** Format of the files; by default told from their names. `smart` is that of Cranfield, CISI and CACM (`.I`, `.T`, `.W`). */
  readonly format?: DataFormat;
  /** For CSV or TSV files whose first line is a row: the names of its fields, or false where they are `columns`. Default true. */
  readonly header?: boolean | readonly string[];
  /** Whether fields of CSV or TSV files can be in quotes. Default 'csv' for CSV, 'auto' for TSV. */
  readonly quoting?: Quoting;
  /** What stands between the fields of CSV or TSV files: a character or several. Default: a comma, or a tab. */
  readonly delimiter?: string;
  /** Stop at a line that cannot be read, or a picture that cannot be decoded, or count and skip it. Default 'throw'. */
  readonly onBadLine?: 'throw' | 'skip';
  /** Folder for checkpoints, metrics.jsonl and the finished model. */
  readonly output: string;
  /** Pairs in a batch: how many the loss compares. */
  readonly batch: number;
  /**
   * Batches of an update: the gradient is the mean of theirs. It is another one than that of one large batch, whose rows are all
   * negatives of each other; a larger `batch` takes no more memory. Default 1.
   */
  readonly accumulate?: number;
  /**
   * How much of a batch is encoded at once, which bounds memory. It changes the dropout masks, but otherwise not the
   * gradient. Default 'auto'.
   */
  readonly chunk?:
    | 'auto'
    | {
        /** Texts in the encoder at once. */
        readonly sequences: number;
      }
    | {
        /** Tokens in the encoder at once. */
        readonly tokens: number;
      };
  /**
   * Chunks whose graph is kept instead of computed again: as many as fit into a number of bytes or into the device's free
   * memory ('auto'), or the last one ('last', the default), which costs memory only during the loss.
   */
  readonly retain?: number | 'auto' | 'last';
  /** Default: InfoNCE. */
  readonly loss?: LossConfig;
  /**
   * A model folder with `loss.safetensors`: what the loss trains beside the model, such as a classifier or a learned
   * temperature, begins as it is there. Default: as its settings say.
   */
  readonly lossFrom?: string;
  /** Train representations at several lengths. Default: the whole length alone. */
  readonly matryoshka?: MatryoshkaConfig;
  /** Train layers before the last too; with `matryoshka` each of them at several lengths. Default: the last layer alone. */
  readonly adaptiveLayer?: AdaptiveLayerConfig;
  /** Adds representations of earlier batches to the candidates of the loss. Default: none. */
  readonly memory?: MemoryConfig;
  /** Short texts first, in batches filled by tokens. Needs `steps`. Default: none. */
  readonly curriculum?: CurriculumConfig;
  /** Default: AdamW. */
  readonly optimizer?: OptimizerConfig;
  /**
   * Divides the optimizer's state over ranks: each keeps that of its share of the weights, with their float32 copies on the host
   * (`masterWeights`), and updates these. The weights are the same. One process alone keeps all of it, and the run says so. Default false: every rank keeps the whole state.
   */
  readonly divideOptimizer?: boolean;
  /**
   * What ranks send gradients as, to add them up: `'own'` (default), the type of the gradients, or `'bfloat16'`, which is half of
   * it and rounds gradients to 1/512.
   */
  readonly reduction?: 'own' | 'bfloat16';
  /**
   * How ranks see each other's representations: `'gather'` (default), each holds those of the whole batch, or `'ring'`, each holds
   * its own, and blocks of the others' go round. The gradients are the same.
   */
  readonly exchange?: 'gather' | 'ring';
  /**
   * Whether ranks add up the gradients of layers while the backward pass of the last chunk still runs: over a network that takes
   * as long as that. Over more than two ranks sums are rounded in another order. Default false.
   */
  readonly overlap?: boolean;
  /** How the learning rate goes over the run. */
  readonly schedule?: {
    /** Default 'linear'. */
    readonly kind?: 'linear' | 'cosine' | 'constant';
    /** Steps of warm-up, at most those of the run. Below 1: a fraction of all steps, rounded up. Default 0.1. */
    readonly warmup?: number;
  };
  /**
   * Passes over the data. Default 1 if `steps` is not given. How many updates they make is counted before the first one, or while the
   * run trains where a warm-up has a number of steps or the rate is constant. Where rows alone fill batches it follows from their
   * number, which Parquet and Arrow files tell.
   */
  readonly epochs?: number;
  /** Updates in all, over as many passes as needed. */
  readonly steps?: number;
  /** Seed of the order of the data, of dropout and of new weights. Default 1. */
  readonly seed?: number;
  /** The order of rows: random, all rows in memory (true, the default); random within `buffer` rows; the file's (false). */
  readonly shuffle?:
    | boolean
    | {
        /** Rows that are held at a time. */
        readonly buffer: number;
      };
  /**
   * No text is in a batch twice, where it would be its own negative. Default: true, but false for a loss that does not
   * compare texts of different rows, and for one with `maskDuplicates`, which takes rows with a text in common for no negatives
   * of each other: set that where many questions have one answer.
   */
  readonly uniqueTexts?: boolean;
  /**
   * Every batch has several labels and at least two rows of each, as a loss over the triplets of a batch needs it. Needs an even
   * `batch` from 4. Default false.
   */
  readonly groupByLabel?: boolean;
  /** Default 'auto': the first CUDA device that libtorch sees, else the CPU. */
  readonly device?: string;
  /** Type of the computation; weights and optimizer state are float32 (float64 for 'float64'). 'tf32' is for GPUs. Default 'float32'. */
  readonly precision?: 'float32' | 'float64' | 'bfloat16' | 'tf32';
  /**
   * The most tokens of a text in training, special tokens included; longer texts are cut. At most the model's number of
   * positions. Default: the model's limit. A saved model keeps the limit it was loaded with; a new model gets this one.
   */
  readonly maxLength?: number;
  /** Dropout probability in place of the model's. */
  readonly dropout?: number;
  /**
   * Parameters that the run does not change: their names, or beginnings of names up to a dot, such as
   * `['embeddings', 'encoder.layer.0']`, with `*` for any characters and `'layers.0-5'` for the first six layers. Those of
   * `imageModel` begin with `image_model`. Default: none.
   */
  readonly frozen?: readonly string[];
  /**
   * `'rows'`: the table of word vectors has gradients and moments of the rows alone that texts have, and a row is updated by the
   * steps that have it. Default: `'dense'`.
   */
  readonly embeddingGradients?: 'dense' | 'rows';
  /**
   * Where the float32 weights of a run in bfloat16 are, of which the weights that compute are copies. `'device'`: beside these.
   * `'host'`: in the memory of the host, with the moments; its processor makes the updates. `'none'`: nowhere; weights of bfloat16 are
   * rounded by chance when they are updated. With the last two a checkpoint and the finished model have the weights of bfloat16.
   * Not with `memory.momentum`; `'host'` not with `embeddingGradients: 'rows'`. Pictures take `'device'` alone. Default: `'device'`.
   */
  readonly masterWeights?: 'device' | 'host' | 'none';
  /**
   * Low-rank adapters that are trained in place of the model. Checkpoints and the finished model are then folders of PEFT, with
   * the path of the base model. Default: none, or those of the model's folder.
   */
  readonly lora?: LoraOptions;
  /**
   * The prompt of each column's texts: the name of one of the model's prompts, or the words themselves. A column without an
   * entry gets no prompt, whatever the model's default prompt is. Hard negatives found in the data get the positives' prompt.
   */
  readonly prompts?: Readonly<Record<string, string | PromptWords>>;
  /** Measure on held-out data every so many steps, and at the end. */
  readonly evaluation?: EvaluationConfig;
  /**
   * When to write checkpoints; false: never. One is also written where the signal of {@link TrainHooks} ends the run, after the
   * last whole update. Default: every 1000 updates and every 15 minutes, of which the last 2 are kept.
   */
  readonly checkpoint?: boolean | CheckpointConfig;
  /**
   * Continue from the newest checkpoint in `output`, or from the named checkpoint folder. Without a checkpoint in `output`
   * the run starts from the beginning, with the settings in `output/settings.json` where none are given, unless it would
   * replace a finished model: that is refused. A finished run is left unchanged, unless `steps` or `epochs` are more than before.
   *
   * Settings that are not given come from the checkpoint. `optimizer`, `divideOptimizer`, `exchange`, `overlap`, `schedule`, the
   * length, `device`, `chunk`, `retain`, `evaluation`, `checkpoint`, and the names and format of the same data may change; the run
   * reports each change. Another value of any other setting is refused, because it would change the batches or the gradient.
   */
  readonly resume?: boolean | string;
}

/** The settings of a resumed run; those that are not given come from its checkpoint. */
export interface ResumeConfig extends Partial<TrainConfig> {
  readonly output: string;
  readonly resume: true | string;
}

/** One of several data sets. Its columns go by their places with those of the others. */
export interface DataSetConfig {
  /** Files, as `data` of a run without data sets. */
  readonly data: string | readonly string[];
  /** What steps tell of their batches. Default: `data set 1`, … */
  readonly name?: string;
  /**
   * Proportional: how often an epoch goes over it, 0.5 for a half of it. Round robin: its batches in each turn, a whole number.
   * At most 10,000. Default 1.
   */
  readonly weight?: number;
  /** Its columns of texts. Default: those of the run, or those that its data has. */
  readonly columns?: readonly string[];
  /** Its column of labels or scores. Default: that of the run, or the one that its data has. */
  readonly label?: string;
  /** Its column of weights. Default: that of the run. */
  readonly weights?: string;
  /** Its columns of ids. Default: those of the run. */
  readonly ids?: string | readonly string[];
  /** Format of its files. Default: that of the run, or told from their names. */
  readonly format?: DataFormat;
  /** The names of the fields of its CSV or TSV files, or whether their first line has them. Default: as in the run. */
  readonly header?: boolean | readonly string[];
  /** Whether fields of its CSV or TSV files can be in quotes. Default: as in the run. */
  readonly quoting?: Quoting;
  /** What stands between the fields of its CSV or TSV files. Default: as in the run. */
  readonly delimiter?: string;
  /** The prompts of its columns, by their names in it. Default: those of the run for the columns at these places. */
  readonly prompts?: Readonly<Record<string, string | PromptWords>>;
}

/** The words of a prompt. They are saved with the model, for `evaluate` and `embed` to use by name. */
export interface PromptWords {
  /** Put before every text as it stands, for instance 'query: '. */
  readonly prefix: string;
  /** The prompt's name in the saved model. Default: 'query' for the first column, 'document' for the others. */
  readonly name?: string;
}

/** Trains the beginnings of representations too (`matryoshka`), so that users can cut them. */
export interface MatryoshkaConfig {
  /** The lengths to train, such as [768, 256, 64]; the whole length only where it is one of them. */
  readonly dimensions: readonly number[];
  /** What the loss at each of them is multiplied by. Default: 1. */
  readonly weights?: readonly number[];
  /** How many of them a step takes, drawn anew for each. Default: all. */
  readonly dimensionsPerStep?: number;
}

/** Trains layers before the last too (`adaptiveLayer`), so that users can leave layers out. */
export interface AdaptiveLayerConfig {
  /** Their numbers, where 0 is what the embeddings give. Default: `'all'`. */
  readonly layers?: 'all' | readonly number[];
  /** How many of them a step takes, drawn anew for each. Default: 1. */
  readonly layersPerStep?: number;
  /** What the loss at the last layer is multiplied by. Default: 1. */
  readonly lastLayerWeight?: number;
  /** What the mean of the losses at the others is multiplied by. Default: 1. */
  readonly priorLayersWeight?: number;
  /** What the divergence of each of them from the last layer is multiplied by. Default: 1. */
  readonly klWeight?: number;
  /** The temperature of that divergence; 0: none is computed. Default: 0.3. */
  readonly klTemperature?: number;
  /** How much a layer counts by its number k: alike (default), 1 / (1 + ln(1 + k)) or 1 / (1 + k). */
  readonly layerWeighting?: 'uniform' | 'log' | 'linear';
}

/**
 * A memory of earlier batches (`crossBatchMemory`). It keeps the positives, and its rows are candidates that belong to no
 * anchor. A row that shares a text with the batch, in whatever column, is left out of its loss. Checkpoints hold it.
 */
export interface MemoryConfig {
  /** The most representations that are kept; the oldest go first. */
  readonly capacity: number;
  /** Steps before the first batch is kept. Default 0. */
  readonly start?: number;
  /**
   * Fills the memory by a second encoder, whose weights after each update are `momentum` times what they were plus
   * `1 - momentum` times the model's. Default: none, the model's own representations are kept.
   */
  readonly momentum?: number;
}

/**
 * A greatest length of texts that grows (`lengthCurriculum`), while each batch holds as many tokens. Texts are cut to the
 * length of their batch. A batch ends with the row that brings it to `tokens`, or when it has `batch` rows. Each text is
 * tokenised twice, once to be measured.
 */
export interface CurriculumConfig {
  /** The greatest length in the first batch, in tokens, special ones included. */
  readonly from: number;
  /** The greatest length in the end. Default: that of the run, `maxLength` or the model's. */
  readonly to?: number;
  /** Batches in which it grows, each by the same amount. */
  readonly over: number;
  /** Tokens of a batch, of all its columns. */
  readonly tokens: number;
}

/** How a model with a representation for each token is made. */
export interface LateInteractionConfig extends Partial<LateInteraction> {
  /** Width of a new linear layer that tokens go through; 128 is usual. Default: none. */
  readonly projection?: number;
}

/** A model that starts from random weights. */
export interface NewModel {
  /** The architecture: the content of a transformers config.json, or the path of such a file. */
  readonly config: string | Readonly<Record<string, unknown>>;
  /** Path of a tokenizer.json. */
  readonly tokenizer: string;
  /** Default 'mean'; 'none': each token has a representation. */
  readonly pooling?: TokenPooling | 'none' | 'splade';
  /** Scales representations to length 1. Default true, and false for SPLADE. */
  readonly normalize?: boolean;
}
