import type { Prompt } from '../encoders/prompts.js';
import type { EncodesTexts } from '../evaluation/encode-texts.js';
import type { ScoresPairs } from '../evaluation/scores-pairs.js';
import { requireEncoder } from '../evaluation/retrieval-checks.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireCount,
  requireFunction,
  requireNumber,
  requireOneOf,
  requireSignal,
} from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { SIMILARITIES, type Similarity } from '../options/similarity.js';
import { tell } from '../options/synchronous.js';

/** What rows of mined negatives can look like, under the names of sentence-transformers. */
export const MINED_FORMATS = ['triplet', 'n-tuple', 'labeled-pair', 'labeled-list'] as const;

/** What rows are made of the hard negatives: `'triplet'`, `'n-tuple'`, `'labeled-pair'` or `'labeled-list'`. */
export type MinedFormat = (typeof MINED_FORMATS)[number];

/** How negatives are taken from the candidates. */
export const SAMPLINGS = ['top', 'random'] as const;

/** Settings of `mineHardNegatives`. */
export interface MiningOptions {
  /** The columns of anchor and positive, in what is read and in what is written. Default: `['anchor', 'positive']`. */
  readonly columns?: readonly [string, string];
  /** Documents to look for negatives in, beside the positives of all pairs. Default: the positives alone. */
  readonly corpus?: Iterable<string> | AsyncIterable<string>;
  /** Negatives of an anchor. Default: 3. */
  readonly negatives?: number;
  /** Candidates to skip: the first ones that are left when all other settings have taken theirs away. Default: 0. */
  readonly rangeMin?: number;
  /**
   * The last rank of a candidate. Default: `rangeMin + negatives` and the most positives of an anchor, or ten times as many
   * negatives where a setting takes candidates away.
   */
  readonly rangeMax?: number | undefined;
  /** A candidate must score at most that. */
  readonly maxScore?: number | undefined;
  /** A candidate must score at least that. */
  readonly minScore?: number | undefined;
  /** A candidate must score at least so much less than the positive; of several positives than the one that scores least. */
  readonly absoluteMargin?: number | undefined;
  /**
   * The same as a share of the size of the positive's score: 0.05 keeps what scores at most `p - 0.05 * |p|`. That holds for
   * negative scores too.
   */
  readonly relativeMargin?: number | undefined;
  /** `'top'` (default): the candidates that score most. `'random'`: any of the range. */
  readonly sampling?: (typeof SAMPLINGS)[number];
  /** Of random sampling. Default: 0. */
  readonly seed?: number;
  /**
   * A model whose scores count in place of the encoder's: a cross-encoder, or another encoder. The encoder finds the
   * candidates, the judge scores them and the positives. Default: none.
   */
  readonly judge?: ScoresPairs | EncodesTexts;
  /** What is put before anchors or documents for the judge. Default: as for `prompts`; a cross-encoder has only `query`. */
  readonly judgePrompts?: {
    /** For anchors. */
    readonly query?: Prompt | undefined;
    /** For documents. */
    readonly document?: Prompt | undefined;
  };
  /**
   * By what representations are compared. Default: `'cosine'`, whatever the model names: sentence-transformers compares
   * normalised representations here.
   */
  readonly similarity?: Similarity;
  /**
   * What is put before each anchor or each document: the name of a prompt of the model, `''` for nothing, or the words as
   * `{ prefix: 'query: ' }`. Default: the prompts that the model has under the names `query` and `document`, else nothing.
   */
  readonly prompts?: {
    /** For anchors. */
    readonly query?: Prompt | undefined;
    /** For documents. */
    readonly document?: Prompt | undefined;
  };
  /**
   * What a row is. `'triplet'` (default): anchor, positive, negative. `'n-tuple'`: anchor, positive and all negatives
   * (`negative_1`, …); anchors with fewer are left out. `'labeled-pair'`: anchor, document, `label` 1 or 0. `'labeled-list'`:
   * anchor, a list of documents, their `labels`.
   */
  readonly format?: MinedFormat;
  /**
   * Adds the scores: a list `scores` to triplets and tuples, positive first; in place of the labels, `score` of a pair and
   * `scores` of a list. Default: false.
   */
  readonly scores?: boolean;
  /** Positives may be among the negatives, for tests of rerankers. Takes `'n-tuple'`. Default: false. */
  readonly includePositives?: boolean;
  /** Documents encoded and searched at a time; bounds memory. Default: 8192. */
  readonly block?: number;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
  /** Told after every block: what is done (texts encoded, or pairs scored by the judge), out of how many. */
  readonly onProgress?: (done: number, total: number, what: 'texts' | 'pairs') => void;
}

const NAMES: readonly (keyof MiningOptions)[] = [
  'columns',
  'corpus',
  'negatives',
  'rangeMin',
  'rangeMax',
  'maxScore',
  'minScore',
  'absoluteMargin',
  'relativeMargin',
  'sampling',
  'seed',
  'judge',
  'judgePrompts',
  'similarity',
  'prompts',
  'format',
  'scores',
  'includePositives',
  'block',
  'signal',
  'onProgress',
];

/** Options that are checked, with their defaults filled in. */
export type ReadMiningOptions = Omit<Required<MiningOptions>, Unset> & {
  readonly [Name in Unset]: MiningOptions[Name] | undefined;
};

/** Options without a default. */
type Unset =
  | 'rangeMax'
  | 'maxScore'
  | 'minScore'
  | 'absoluteMargin'
  | 'relativeMargin'
  | 'judge'
  | 'signal'
  | 'onProgress';

/** @throws GradCacheError `INPUT` */
export function readMiningOptions(options: MiningOptions): ReadMiningOptions {
  checkKnown('mineHardNegatives', options, NAMES);
  const {
    columns = ['anchor', 'positive'],
    corpus = [],
    negatives = 3,
    rangeMin = 0,
    block = 8192,
  } = options;
  const { sampling = 'top', seed = 0, judge, judgePrompts = {}, similarity = 'cosine' } = options;
  const { prompts = {}, scores = false, includePositives = false, signal, onProgress } = options;
  const { format = includePositives ? 'n-tuple' : 'triplet' } = options;
  const { rangeMax, maxScore, minScore, absoluteMargin, relativeMargin } = options;
  requireColumns(columns);
  for (const [name, value, least] of [
    ['negatives', negatives, 1],
    ['rangeMin', rangeMin, 0],
    ['rangeMax', rangeMax ?? 1, 1],
    ['block', block, 1],
  ] as const)
    requireCount(name, value, least);
  for (const [name, value] of Object.entries({ maxScore, minScore, absoluteMargin, relativeMargin }))
    if (value !== undefined) requireNumber(name, value, name.endsWith('Margin') ? { from: 0 } : {});
  requireOneOf('sampling', sampling, SAMPLINGS);
  requireSeed(seed);
  if (judge !== undefined) requireJudge(judge);
  checkKnown('judgePrompts', judgePrompts, ['query', 'document']);
  checkKnown('prompts', prompts, ['query', 'document']);
  requireOneOf('similarity', similarity, SIMILARITIES);
  requireOneOf('format', format, MINED_FORMATS);
  requireBoolean('scores', scores);
  requireBoolean('includePositives', includePositives);
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  requireRange(rangeMin, rangeMax, negatives);
  if (maxScore !== undefined && minScore !== undefined && minScore > maxScore)
    throw refused('minScore', minScore, `a number up to maxScore, ${maxScore},`);
  if (judge === undefined && Object.values(judgePrompts).some((prompt) => prompt !== undefined))
    throw refused('judgePrompts', judgePrompts, 'a judge, which they are for,');
  if (judge !== undefined && judgesPairs(judge) && judgePrompts.document !== undefined)
    throw refused('judgePrompts.document', judgePrompts.document, 'none for a cross-encoder, which');
  if (includePositives && format !== 'n-tuple')
    throw refused('format', format, "'n-tuple', the one that includePositives takes,");
  return {
    columns,
    corpus,
    negatives,
    rangeMin,
    rangeMax,
    maxScore,
    minScore,
    absoluteMargin,
    relativeMargin,
    sampling,
    seed,
    judge,
    judgePrompts,
    similarity,
    prompts,
    format,
    scores,
    includePositives,
    block,
    signal,
    onProgress: onProgress && ((done, total, what) => tell('onProgress', onProgress, done, total, what)),
  };
}

/** Whether a judge takes pairs, as a cross-encoder does. */
export function judgesPairs(judge: ScoresPairs | EncodesTexts): judge is ScoresPairs {
  return typeof (judge as Partial<ScoresPairs>).predict === 'function';
}

function requireJudge(judge: ScoresPairs | EncodesTexts): void {
  const { predict, encode } = (judge ?? {}) as Partial<ScoresPairs & EncodesTexts>;
  if (typeof predict !== 'function' && typeof encode !== 'function')
    throw refused('judge', judge, 'a CrossEncoder or TextEncoder, or an object with predict() or encode(),');
  const { labels = 1 } = judge as { readonly labels?: unknown };
  if (typeof predict === 'function' && labels !== 1)
    throw refused('the number of labels of judge', labels, 'one, a score for a pair,');
  if (typeof predict !== 'function') requireDense('judge', judge as EncodesTexts);
}

/** Negatives are found by representations of whole texts. @throws GradCacheError `INPUT` for a model without */
export function requireDense(name: string, encoder: EncodesTexts): void {
  requireEncoder(encoder);
  const { sparse, perToken } = encoder as { readonly sparse?: boolean; readonly perToken?: boolean };
  if (sparse !== true && perToken !== true) return;
  throw new GradCacheError(
    'INPUT',
    `${name} gives ${sparse === true ? 'sparse representations' : 'a representation for each token'}; mining takes a model ` +
      'with one dense representation a text. Such a model can be the one that is trained on what another has mined.',
  );
}

function requireColumns(columns: unknown): asserts columns is readonly [string, string] {
  const good =
    Array.isArray(columns) &&
    columns.length === 2 &&
    columns[0] !== columns[1] &&
    columns.every((name) => typeof name === 'string' && name !== '' && name !== '__proto__');
  if (!good) throw refused('columns', columns, 'a list of 2 columns, anchor and positive,');
}

function requireRange(rangeMin: number, rangeMax: number | undefined, negatives: number): void {
  if (rangeMax === undefined || rangeMax - rangeMin >= negatives) return;
  throw refused('rangeMax', rangeMax, `at least rangeMin + negatives, ${rangeMin + negatives},`);
}
