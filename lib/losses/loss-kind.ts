import type { Fields } from '../options/fields.js';
import type { LabelType } from '../options/label-type.js';
import type { SettingTable } from '../options/setting-table.js';
import type { Similarity, TokenSimilarity } from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import type { LabelNeeds } from './row-labels.js';
import type { LossOptions, LossWithGradients } from './loss.js';

/** A loss that divides similarities by a temperature. */
export interface TrainedLoss extends LossWithGradients {
  /** Similarities are divided by it. A learned one has the value of the last awaited update. */
  readonly temperature: number;
}

/** Columns of texts. Each is a tower. */
export interface TextColumns {
  readonly least: number;
  /** Absent: as many as there are. */
  readonly most?: number;
  /** How many and which ones, for messages. */
  readonly needed: string;
  /** The columns of a configuration that names none. Default: anchor, positive, and the hard negatives that the data has. */
  readonly usual?: readonly string[];
}

/** The column of a label or score. The loss gets it as the keyword argument `labels`, an entry for each row. */
export interface LabelColumn {
  readonly type: LabelType;
  /** What it says, for messages: `a score for each pair`. */
  readonly needed: string;
  /** The loss can do without. Default: false. */
  readonly optional?: boolean;
  /** What the loss needs of a label by itself. Default: what its type says. */
  readonly needs?: LabelNeeds;
  /** No column is taken for it by its name. Default: false. */
  readonly onlyNamed?: boolean;
}

/** The model that a loss is made for. A loss that has weights of its own takes their size and place from it. */
export interface LossModel {
  /** Length of a representation in training. */
  readonly dimension: number;
  readonly device: string;
  /** Type of weights. */
  readonly dtype: 'float32' | 'float64';
  /** Whether it computes in bfloat16. Default: false. */
  readonly bfloat16?: boolean;
  /** Whether its representations are sparse. Default: false. */
  readonly sparse?: boolean;
  /** Seed of random weights. */
  readonly seed: number;
  /** The model that {@link LossKind.guide} names. */
  readonly guide?: GuideEncoder | undefined;
}

/** A model that judges the texts of a batch; `TextEncoder` is one. */
export interface GuideEncoder {
  /** Representations [texts, dimension], without a graph. */
  encode(texts: readonly string[]): Promise<Tensor>;
}

/** How a run with a cross-encoder makes pairs of the texts of a row, and what it gives the loss. */
export interface PairRows<S> {
  /**
   * - `'pair'`: the two columns are a pair, and `labels` has a number for each;
   * - `'ranking'`: an anchor, its positive, drawn negatives and its hard negatives; the loss gets `lists`;
   * - `'documents'`: a query and its documents, one in each further column; with two columns the second has a list of documents
   *   in each row. The loss gets `lists`, and `labels` with what the label of each row is.
   */
  readonly rows: 'pair' | 'ranking' | 'documents';
  /** How many labels the model has. */
  readonly labels: 'one' | 'several';
  /** How many negatives are drawn for each anchor, of `'ranking'`. */
  readonly negatives?: (settings: S) => number;
}

/** One loss as configuration files and the command line know it; loss-kinds.ts lists them. */
export interface LossKind<S> {
  /** For the help of the command line. */
  readonly about: string;
  readonly columns: TextColumns;
  /** For a loss of a cross-encoder. Absent: the loss trains a text encoder. */
  readonly pairs?: PairRows<S>;
  /** Absent: the loss takes no label. */
  readonly label?: LabelColumn;
  /** Whether the loss takes the keyword argument `weights`, how much each row counts. Default: false. */
  readonly takesWeights?: boolean;
  /** Whether a row may have lists of positives and negatives: the loss takes `targets` and `owners`. Default: false. */
  readonly takesLists?: boolean;
  /** Whether texts of different rows are compared, so that a text twice in a batch would be its own negative. Default: true. */
  readonly comparesRows?: boolean;
  /** Whether texts are compared token by token: the model then has a representation for each token. Default: false. */
  readonly perToken?: boolean;
  /** Whether rows of a memory can be candidates (the setting `memory`). Default: false. */
  readonly takesMemory?: boolean;
  /** Whether it is for representations that are sparse, and for no others. Default: false. */
  readonly sparse?: boolean;
  /** Keyword arguments of the loss in an update, which is numbered from 1. Default: none. */
  readonly stepOptions?: (
    settings: S,
    update: { readonly step: number; readonly steps: number },
  ) => LossOptions;
  readonly settings: SettingTable<S>;
  /**
   * The folder of another model that judges the batch; null or absent: none. The loss then gets it as `model.guide`, and the
   * texts of each column as the keyword argument `texts`.
   */
  readonly guide?: (settings: S) => string | null;
  /**
   * Whether rows that share a text are to be no negatives of each other. The loss then gets the texts of each row as the
   * keyword argument `ids`. Absent: never.
   */
  readonly masksDuplicates?: (settings: S) => boolean;
  /** Checks settings that depend on each other. @throws GradCacheError `INPUT` */
  readonly check?: (settings: S, fields: Fields) => void;
  readonly make: (settings: S, model: LossModel) => LossWithGradients & { readonly temperature?: number };
  /** The initial temperature with these settings. Absent: the loss has none. */
  readonly temperature?: (settings: S) => number;
  /** The similarity that the loss trains, which the saved model records. Default: the setting `similarity`, or cosine. */
  readonly similarity?: (settings: S) => Similarity | TokenSimilarity;
}

/** The setting `maskDuplicates` of losses that take `ids`. */
export const MASK_DUPLICATES = {
  kind: 'switch',
  default: false,
  help: 'rows of a batch with a text in common are no negatives of each other; for --no-unique-texts',
} as const;

/** The setting `similarity` of losses that compare by cosine or by inner product. */
export const SIMILARITY = {
  kind: 'choice',
  accepted: ['cosine', 'dot'],
  default: 'cosine',
  flag: 'similarity',
  help: 'cosine (default) or dot',
} as const;
