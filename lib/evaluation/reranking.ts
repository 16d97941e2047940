import type { TextPair } from '../tokenizer/tokenizer.js';
import type { Prompt } from '../encoders/prompts.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireCount,
  requireFunction,
  requireSignal,
  requireString,
  requireTexts,
} from '../options/option-values.js';
import type { Similarity } from '../options/similarity.js';
import { DistinctTexts } from './distinct-texts.js';
import { encodesTokens, type EncodesTexts } from './encode-texts.js';
import type { RankedCandidates } from './hardest.js';
import { PairScores } from './pair-scores.js';
import { measureRanking, type RankMeasures } from './rank-measures.js';
import { requireEncoder } from './retrieval-checks.js';
import { scoreByEncoder } from './score-listed.js';
import { refuseOfEncoders, requireScores, scoresPairs, type ScoresPairs } from './scores-pairs.js';
import { chooseSimilarity } from './similarity.js';
import { promptsFor } from './task-prompts.js';
import { tell } from '../options/synchronous.js';

/** A query and the candidates that a first stage found for it. */
export interface RerankingQuery {
  /** The query. */
  readonly query: string;
  /** The documents that answer it, at least one. */
  readonly positive: readonly string[];
  /** The candidates that do not; or else `documents`. */
  readonly negative?: readonly string[];
  /** The candidates in the order of the first stage, positives among them or not; or else `negative`. */
  readonly documents?: readonly string[];
}

/** Queries with their candidates. */
export interface RerankingTask {
  /** The queries with their candidates. */
  readonly queries: readonly RerankingQuery[];
}

/** Means over the queries. */
export interface RerankingScores extends RankMeasures {
  /** Queries that were measured. */
  readonly queries: number;
  /** Candidates in all. */
  readonly documents: number;
  /** The ranks that count in `mrr` and `ndcg`. */
  readonly at: number;
  /** The measures of the order of the first stage; null unless every query has `documents`. */
  readonly firstStage: RankMeasures | null;
}

/** Settings of {@link evaluateReranking}. */
export interface RerankingOptions {
  /** The ranks that count in MRR and nDCG. Default: 10. */
  readonly at?: number;
  /**
   * Whether positives that the first stage did not find are candidates as well. Without them a query of which it found none
   * scores 0. Default: true, as in sentence-transformers.
   */
  readonly alwaysRerankPositives?: boolean;
  /** Of a cross-encoder: what is put before every query. Default: the model's default prompt. */
  readonly prompt?: Prompt | undefined;
  /** Of a text encoder: what is put before queries and documents. Default: as in `evaluateRetrieval`. */
  readonly prompts?:
    | {
        /** For queries. */
        readonly query?: Prompt | undefined;
        /** For the candidates. */
        readonly document?: Prompt | undefined;
      }
    | undefined;
  /** Of a text encoder: what it is compared by. Default: the model's, or cosine if it names none. */
  readonly similarity?: Similarity | undefined;
  /** Of a text encoder: how many numbers of each representation to compare, from the first on. Default: all. */
  readonly dimensions?: number | undefined;
  /** Pairs that a cross-encoder scores at a time, or documents that a text encoder does. Default: 4096. */
  readonly block?: number;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
  /** Told after every block, of a text encoder once: pairs done, pairs in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * How well a cross-encoder, or a text encoder by its similarity, ranks given candidates: MAP, MRR@10 and nDCG@10, as
 * sentence-transformers' CrossEncoderRerankingEvaluator and RerankingEvaluator have them. The latter leaves out queries without
 * negatives. A text encoder encodes each different text once.
 *
 * @throws GradCacheError `INPUT` for a wrong option or task, `SHAPE` where the model gives other than a score a pair,
 * `NON_FINITE` where a score is not finite
 * @example
 * ```ts
 * const reranker = await CrossEncoder.load('hf:cross-encoder/ms-marco-MiniLM-L6-v2');
 * const { map, mrr, ndcg } = await evaluateReranking(reranker, await readReranking('candidates.jsonl'));
 * ```
 */
export async function evaluateReranking(
  model: ScoresPairs | EncodesTexts,
  task: RerankingTask,
  options: RerankingOptions = {},
): Promise<RerankingScores> {
  return (await rerankAndScore(model, task, options)).scores;
}

/** {@link evaluateReranking} that also gives the candidates with their scores. */
export async function rerankAndScore(
  model: ScoresPairs | EncodesTexts,
  task: RerankingTask,
  options: RerankingOptions,
): Promise<{ scores: RerankingScores; ranked: readonly RankedCandidates[] }> {
  checkKnown('evaluateReranking', options, OPTIONS);
  const predict = scorerOf(model, options);
  const { at = 10, alwaysRerankPositives = true, block = 4096, signal, onProgress } = options;
  requireCount('at', at, 1);
  requireCount('block', block, 1);
  requireBoolean('alwaysRerankPositives', alwaysRerankPositives);
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  const { queries } = task ?? {};
  if (!Array.isArray(queries) || queries.length === 0)
    throw refused('queries', queries, 'a list of queries with their candidates');
  for (const [number, query] of queries.entries()) checkQuery(number, query as RerankingQuery);
  const given = queries as readonly RerankingQuery[];
  const candidates = given.map((query) => candidatesOf(query, alwaysRerankPositives));
  const pairs = candidates.flatMap(({ texts, relevant }, number): TextPair[] =>
    relevant.some(Boolean) ? texts.map((text) => [given[number]!.query, text]) : [],
  );
  const scores = new Float64Array(pairs.length);
  // A text encoder encodes each text once, and so gets all pairs together.
  const atOnce = scoresPairs(model) ? block : Math.max(1, pairs.length);
  for (let begin = 0; begin < pairs.length; begin += atOnce) {
    const some = pairs.slice(begin, begin + atOnce);
    scores.set(requireScores(await predict(some), some.length), begin);
    tell('onProgress', onProgress, Math.min(begin + atOnce, pairs.length), pairs.length);
  }
  let begin = 0;
  const ranked = candidates.map((each, number): RankedCandidates => {
    const isScored = each.relevant.some(Boolean);
    const own = isScored ? scores.subarray(begin, (begin += each.relevant.length)) : null;
    return { query: given[number]!.query, ...each, scores: own };
  });
  const measures = ranked.map(({ relevant, scores }) =>
    scores === null ? NOTHING : measureRanking(relevant, scores, at),
  );
  return {
    scores: {
      queries: given.length,
      documents: candidates.reduce((sum, { texts }) => sum + texts.length, 0),
      at,
      ...meanOf(measures),
      firstStage: given.every(({ documents }) => documents !== undefined)
        ? meanOf(given.map((query) => firstStage(query, at)))
        : null,
    },
    ranked,
  };
}

const OF_ENCODERS = ['prompts', 'similarity', 'dimensions'];
const OPTIONS = [
  'at',
  'alwaysRerankPositives',
  'prompt',
  ...OF_ENCODERS,
  'block',
  'signal',
  'onProgress',
] as (keyof RerankingOptions)[];

/** How a model scores pairs. @throws GradCacheError `INPUT` for a model of neither kind, and for options of the other one */
function scorerOf(
  model: ScoresPairs | EncodesTexts,
  options: RerankingOptions,
): (pairs: readonly TextPair[]) => Promise<ArrayLike<number>> {
  const { prompt, prompts = {}, dimensions, block = 4096, signal } = options;
  if (scoresPairs(model)) {
    refuseOfEncoders(options, OF_ENCODERS);
    return (pairs) => model.predict(pairs, { prompt, signal });
  }
  requireEncoder(model);
  if (encodesTokens(model))
    throw refused('the model', model, 'one with predict(pairs), or one representation of a text,');
  if (prompt !== undefined)
    throw refused('prompt', prompt, 'none for a text encoder, which takes prompts: { query, document } and');
  checkKnown('prompts', prompts, ['query', 'document']);
  if (dimensions !== undefined) requireCount('dimensions', dimensions, 1);
  const similarity = chooseSimilarity(options.similarity, model);
  const how = { prompts: promptsFor(model, prompts), dimensions, similarity, block, signal };
  return (pairs) => {
    const [queries, documents] = [0, 1].map((side) => DistinctTexts.from(pairs.map((pair) => pair[side]!)));
    const sides = { anchors: queries!.distinct.list, documents: documents!.distinct.list };
    return scoreByEncoder(model, sides, new PairScores(queries!.of, documents!.of), how);
  };
}

const NOTHING: RankMeasures = { map: 0, mrr: 0, ndcg: 0 };

interface Candidates {
  readonly texts: readonly string[];
  readonly relevant: readonly boolean[];
}

function candidatesOf(
  { positive, negative = [], documents }: RerankingQuery,
  alwaysRerankPositives: boolean,
): Candidates {
  const known = new Set(positive);
  if (documents !== undefined && !alwaysRerankPositives)
    return { texts: documents, relevant: documents.map((text) => known.has(text)) };
  const others = documents?.filter((text) => !known.has(text)) ?? negative;
  return {
    texts: [...positive, ...others],
    relevant: [...positive.map(() => true), ...others.map(() => false)],
  };
}

/** The first stage's own order; positives that it did not find come last. */
function firstStage({ positive, documents = [] }: RerankingQuery, at: number): RankMeasures {
  const known = new Set(positive);
  const found = documents.map((text) => known.has(text));
  const hits = found.filter(Boolean).length;
  if (hits === 0) return NOTHING;
  const relevant = [...found, ...Array.from({ length: Math.max(0, positive.length - hits) }, () => true)];
  return measureRanking(
    relevant,
    relevant.map((_, place) => -place),
    at,
  );
}

function meanOf(measures: readonly RankMeasures[]): RankMeasures {
  const mean = (of: (each: RankMeasures) => number): number =>
    measures.reduce((sum, each) => sum + of(each), 0) / measures.length;
  return { map: mean(({ map }) => map), mrr: mean(({ mrr }) => mrr), ndcg: mean(({ ndcg }) => ndcg) };
}

function checkQuery(number: number, query: RerankingQuery): void {
  const name = `queries[${number}]`;
  if (typeof query !== 'object' || query === null)
    throw refused(name, query, '{ query, positive, negative or documents }');
  const { positive, negative, documents } = query;
  requireString(`${name}.query`, query.query);
  requireTexts(`${name}.positive`, positive);
  if (positive.length === 0) throw refused(`${name}.positive`, positive, 'a list of at least one text');
  if ((negative === undefined) === (documents === undefined))
    throw new GradCacheError(
      'INPUT',
      `${name} has ${negative === undefined ? 'neither' : 'both'} of negative and documents; one of them is needed.`,
    );
  requireTexts(`${name}.${negative === undefined ? 'documents' : 'negative'}`, negative ?? documents);
}
