import { refuse, type Fields } from '../options/fields.js';
import { refused, requireNumber, requireOneOf, requireSeveralOf } from '../options/option-values.js';
import type { SettingTable } from '../options/setting-table.js';
import type { GradCacheError } from '../errors.js';
import { MASK_DUPLICATES, SIMILARITY, type LossModel } from './loss-kind.js';
import {
  PRECISION,
  precisionFor,
  requirePrecision,
  type LossPrecision,
  type PrecisionSettings,
} from './precision.js';

/** What an anchor's positive is compared with, by the names of sentence-transformers. */
const DIRECTIONS = ['query_to_doc', 'doc_to_query', 'query_to_query', 'doc_to_doc'] as const;
/** One of {@link RankingOptions.directions}. */
export type Direction = (typeof DIRECTIONS)[number];

const PARTITION_MODES = ['joint', 'per_direction'] as const;

const HARDNESS_MODES = ['in_batch_negatives', 'hard_negatives', 'all_negatives'] as const;
/** One of {@link RankingOptions.hardnessMode}. */
export type HardnessMode = (typeof HARDNESS_MODES)[number];

/** Settings that `infoNCE` and `multipleNegativesRanking` share. */
export interface RankingOptions {
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
  /**
   * What is in the denominator of anchor i with positive p. Default: `query_to_doc` alone, which is always there.
   *
   * - `query_to_doc`: anchor i with all candidates
   * - `doc_to_query`: all anchors with p
   * - `query_to_query`: anchor i with all other anchors
   * - `doc_to_doc`: p with the documents of all other anchors. It takes no `targets`.
   */
  readonly directions?: readonly Direction[];
  /**
   * Default `joint`: one softmax over all directions. `per_direction`: the mean of one for each, for `query_to_doc` and
   * `doc_to_query`.
   */
  readonly partitionMode?: (typeof PARTITION_MODES)[number];
  /**
   * Which candidates weigh more in `query_to_doc` the more similar they are: `hardnessStrength * similarity`, taken as a
   * constant, is added to their logits. Default: none.
   *
   * - `in_batch_negatives`: the documents of other anchors
   * - `hard_negatives`: the anchor's own hard negatives
   * - `all_negatives`: both
   */
  readonly hardnessMode?: HardnessMode | null;
  /** From 0, with a `hardnessMode`. Published strengths are 9 for in-batch and 5 for hard negatives. */
  readonly hardnessStrength?: number;
  /** Subtracted from the similarity of an anchor with its positive. Default 0. */
  readonly margin?: number;
  /** From 0, below 1: the part of an anchor that belongs to all of its logits evenly, not to its positive. Default 0. */
  readonly labelSmoothing?: number;
  /** How scores are computed. Default `exact`. `fast` takes no `ids`. */
  readonly precision?: LossPrecision;
}

/** The names of {@link RankingOptions}. */
export const RANKING_OPTIONS = [
  'similarity',
  'directions',
  'partitionMode',
  'hardnessMode',
  'hardnessStrength',
  'margin',
  'labelSmoothing',
  'precision',
] as const;

/** {@link RankingOptions} with their defaults, as the native code takes them. */
export interface Ranking {
  readonly cosine: boolean;
  readonly settings: Readonly<Record<string, boolean | number | string>> & {
    readonly docToDoc: boolean;
    readonly hardness: HardnessMode | 'none';
    readonly fast: boolean;
  };
}

/** @throws GradCacheError `INPUT` */
export function rankingFrom(options: RankingOptions): Ranking {
  const { similarity = 'cosine', directions = ['query_to_doc'], partitionMode = 'joint' } = options;
  const { hardnessMode = null, hardnessStrength = 0, margin = 0, labelSmoothing = 0 } = options;
  const { precision = 'exact' } = options;
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  requireSeveralOf('directions', directions, DIRECTIONS);
  requireOneOf('partitionMode', partitionMode, PARTITION_MODES);
  if (hardnessMode !== null) requireOneOf('hardnessMode', hardnessMode, HARDNESS_MODES);
  requireNumber('hardnessStrength', hardnessStrength, { from: 0 });
  requireNumber('margin', margin);
  requireNumber('labelSmoothing', labelSmoothing, { from: 0, below: 1 });
  requirePrecision(precision);
  checkTogether({ directions, partitionMode, hardnessMode, hardnessStrength }, refused);
  return {
    cosine: similarity === 'cosine',
    settings: {
      docToQuery: directions.includes('doc_to_query'),
      queryToQuery: directions.includes('query_to_query'),
      docToDoc: directions.includes('doc_to_doc'),
      joint: partitionMode === 'joint',
      hardness: hardnessMode ?? 'none',
      hardnessStrength,
      margin,
      labelSmoothing,
      fast: precision === 'fast',
    },
  };
}

/** Checks settings that depend on each other. */
function checkTogether(
  settings: Pick<RankingSettings, 'directions' | 'partitionMode' | 'hardnessMode' | 'hardnessStrength'>,
  refusing: (name: string, value: unknown, needed: string) => GradCacheError,
): void {
  const { directions, partitionMode, hardnessMode, hardnessStrength } = settings;
  if (!directions.includes('query_to_doc'))
    throw refusing('directions', directions, 'a list with "query_to_doc"');
  const within = directions.some((each) => each === 'query_to_query' || each === 'doc_to_doc');
  if (partitionMode === 'per_direction' && within)
    throw refusing('directions', directions, '"query_to_doc" and "doc_to_query" alone, for per_direction,');
  if (hardnessMode === null && hardnessStrength !== 0)
    throw refusing(
      'hardnessStrength',
      hardnessStrength,
      `0, or a hardnessMode (${HARDNESS_MODES.join(', ')}),`,
    );
  if (hardnessMode !== null && hardnessStrength === 0)
    throw refusing('hardnessStrength', hardnessStrength, 'a number above 0, for a hardnessMode,');
}

/** {@link RankingOptions} in a configuration. */
export interface RankingSettings extends PrecisionSettings {
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: 'cosine' | 'dot';
  /** What is in the denominator. Default `query_to_doc` alone. */
  readonly directions: readonly Direction[];
  /** One softmax over all directions, or one for each. Default 'joint'. */
  readonly partitionMode: (typeof PARTITION_MODES)[number];
  /** Which candidates weigh more the more similar they are. Default: none. */
  readonly hardnessMode: HardnessMode | null;
  /** How much more they weigh. Default: 0. */
  readonly hardnessStrength: number;
  /** Subtracted from the similarity of an anchor with its positive. Default 0. */
  readonly margin: number;
  /** The part of an anchor that belongs to all of its logits evenly. Default 0. */
  readonly labelSmoothing: number;
  /** Rows of a batch with a text in common are no negatives of each other. Default false. */
  readonly maskDuplicates: boolean;
}

/** {@link RankingSettings} for the table of a loss. */
export const RANKING_SETTINGS: SettingTable<RankingSettings> = {
  similarity: SIMILARITY,
  directions: {
    kind: 'choices',
    accepted: DIRECTIONS,
    default: ['query_to_doc'],
    help: `what is in the denominator: ${DIRECTIONS.join(', ')}; default query_to_doc`,
  },
  partitionMode: {
    kind: 'choice',
    accepted: PARTITION_MODES,
    default: 'joint',
    help: 'one softmax over all directions (joint, default) or one for each (per_direction)',
  },
  hardnessMode: {
    kind: 'choice',
    accepted: HARDNESS_MODES,
    default: null,
    help: `candidates that weigh more the more similar they are: ${HARDNESS_MODES.join(', ')}; default none`,
  },
  hardnessStrength: { kind: 'number', from: 0, default: 0, help: 'how much more; default 0' },
  margin: { kind: 'number', default: 0, help: "subtracted from the positive's similarity; default 0" },
  labelSmoothing: {
    kind: 'number',
    from: 0,
    below: 1,
    default: 0,
    help: 'the part of an anchor that belongs to all candidates evenly; default 0',
  },
  precision: PRECISION,
  maskDuplicates: MASK_DUPLICATES,
};

/** Checks settings that depend on each other. @throws GradCacheError `INPUT` */
export function checkRanking(settings: RankingSettings, fields: Fields): void {
  checkTogether(settings, (name, value, needed) => refuse(fields.at(name), value, needed));
  const { maskDuplicates, labelSmoothing, precision } = settings;
  if (maskDuplicates && precision === 'fast')
    throw refuse(fields.at('precision'), precision, '"exact" or "auto", beside maskDuplicates,');
  if (maskDuplicates && labelSmoothing !== 0)
    throw refuse(fields.at('labelSmoothing'), labelSmoothing, '0, beside maskDuplicates,');
}

/** The options that settings stand for, without other settings of the loss. */
export function rankingOptions(settings: RankingSettings, model: LossModel): Required<RankingOptions> {
  const { similarity, directions, partitionMode, hardnessMode, hardnessStrength, margin, labelSmoothing } =
    settings;
  return {
    similarity,
    directions,
    partitionMode,
    hardnessMode,
    hardnessStrength,
    margin,
    labelSmoothing,
    precision: precisionFor(settings.precision, model, !settings.maskDuplicates),
  };
}
