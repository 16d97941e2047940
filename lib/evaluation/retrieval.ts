import type { Prompt } from '../encoders/prompts.js';
import type { TokenRepresentations } from '../encoders/text-encoder.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireFunction, requireSignal } from '../options/option-values.js';
import type { Similarity, TokenSimilarity } from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import { encodesTokens, encodeTexts, type EncodesTexts, type EncodesTokens } from './encode-texts.js';
import { DistinctTexts } from './distinct-texts.js';
import { PlacedTexts } from './placed-texts.js';
import { checkRanking, checkTask, requireEncoder, requireRecallAt } from './retrieval-checks.js';
import type { RetrievalTask } from './retrieval-task.js';
import {
  deepestOf,
  measureQuery,
  readMeasures,
  type RankedQuery,
  type RetrievalMeasure,
} from './retrieval-measures.js';
import type { Ranking } from './exact-search.js';
import { search } from './search.js';
import { chooseSimilarity, chooseTokenSimilarity } from './similarity.js';
import { promptsFor, type TaskPrompts } from './task-prompts.js';
import { isSparse, SparseTexts, type ActiveDimensions } from './sparse-texts.js';
import { requireTokenRepresentations, searchTokens } from './token-search.js';
import { tell } from '../options/synchronous.js';

/** The k of recall@k by default. */
export const RECALL_AT: readonly number[] = [1, 5, 10, 100];

/** Means over the queries, each from 0 to 1. */
export interface RetrievalScores {
  /** Queries that were measured. */
  readonly queries: number;
  /** Documents that were searched. */
  readonly documents: number;
  /** For each k, the share of a query's relevant documents among the first k. */
  readonly recall: Readonly<Record<number, number>>;
  /** 1 / (rank of the first relevant document), 0 where it is beyond rank 10. */
  readonly mrr10: number;
  /** Discounted cumulative gain of the first 10 against the best possible, linear gains (as trec_eval counts). */
  readonly ndcg10: number;
  /** Further measures that were asked for, by name. */
  readonly measures?: Readonly<Record<string, number>>;
  /** Of sparse representations: how many columns are not 0, the mean over the different texts. */
  readonly activeDimensions?: ActiveDimensions;
}

/** Settings of {@link evaluateRetrieval}. */
export interface RetrievalOptions {
  /** The k of recall@k. Default [1, 5, 10, 100]. */
  readonly recallAt?: readonly number[];
  /**
   * Further measures: accuracy (whether there is a relevant document), precision, recall, mrr, ndcg (of grades as they are, linear
   * gain) or map at any k, as `'map@100'`. Those of sentence-transformers' InformationRetrievalEvaluator; map@k is divided by k where a query has
   * more relevant documents than that, which trec_eval's map_cut is not. Default: none.
   */
  readonly measures?: readonly RetrievalMeasure[];
  /**
   * Default: the model's; if it names none, cosine, and `'maxsim'` for a model with a representation for each token, which
   * is compared token by token.
   */
  readonly similarity?: Similarity | TokenSimilarity;
  /**
   * What is put before each query or each document: the name of a prompt of the model, `''` for nothing, or the words as
   * `{ prefix: 'query: ' }`. Default: the prompts that the model has under the names `query` and `document`, else nothing,
   * as sentence-transformers' InformationRetrievalEvaluator does.
   */
  readonly prompts?: {
    /** For queries. */
    readonly query?: Prompt | undefined;
    /** For documents. */
    readonly document?: Prompt | undefined;
  };
  /** How many numbers of each representation to compare, from the first on. Default: all. */
  readonly dimensions?: number | undefined;
  /** Documents encoded and searched at a time; bounds memory. Default 8192, with a representation for each token 512. */
  readonly block?: number;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal;
  /** Told after every block: texts encoded, texts in all. A text that is there more than once is encoded once. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Encodes queries and documents and searches exactly, holding the documents' representations one block at a time. Documents
 * with equal scores are ranked in the order of the task. Sparse representations are searched by lists of the documents that
 * have a column, on the event loop's thread, where other events have their turn every few milliseconds.
 *
 * @throws GradCacheError `INPUT` for a wrong option and for a task without queries, documents or relevant documents,
 * `NON_FINITE` where a representation is not
 * @example
 * ```ts
 * const task = await readRetrievalPairs('held-out.jsonl', { columns: ['question', 'answer'] });
 * const { ndcg10, mrr10, recall } = await evaluateRetrieval(model, task, { recallAt: [1, 10] });
 * console.log(ndcg10, mrr10, recall[10]);
 * ```
 */
export async function evaluateRetrieval(
  encoder: EncodesTexts | EncodesTokens,
  task: RetrievalTask,
  options: RetrievalOptions = {},
): Promise<RetrievalScores> {
  return (await rankAndScore(encoder, task, options)).scores;
}

/** {@link evaluateRetrieval} that also gives what was found. */
export async function rankAndScore(
  encoder: EncodesTexts | EncodesTokens,
  task: RetrievalTask,
  options: RetrievalOptions,
): Promise<{ scores: RetrievalScores; ranking: Ranking }> {
  const { recallAt, measures, find, active, block, onProgress } = readOptions(encoder, options);
  checkTask(task);
  const { distinct: queries, of: queryOf } = DistinctTexts.from(task.queries);
  const documents = new PlacedTexts(task.documents);
  const total = queries.list.length + documents.list.length;
  const excluded = task.excluded ?? new Map<number, number>();
  const k = Math.max(10, ...recallAt, deepestOf(readMeasures(measures))) + (excluded.size > 0 ? 1 : 0);
  const found = await find(queries.list, blocks(), k);
  const ranking = documents.rank(found, queryOf, excluded, k);
  const scores = scoreRanking(
    ranking,
    task.relevant,
    task.documents.length,
    recallAt,
    task.missing,
    measures,
  );
  return { scores: active === undefined ? scores : { ...scores, activeDimensions: active() }, ranking };

  /** The documents, each block once the one before is searched. The queries are encoded before the first is asked for. */
  function* blocks(): Iterable<readonly string[]> {
    for (let start = 0; start < documents.list.length; start += block) {
      tell('onProgress', onProgress, queries.list.length + start, total);
      yield documents.list.slice(start, start + block);
    }
    tell('onProgress', onProgress, total, total);
  }
}

/** Finds the best `k` documents of each query. */
type Find = (
  queries: readonly string[],
  documents: Iterable<readonly string[]>,
  k: number,
) => Promise<Ranking>;

/** How texts are encoded. */
interface Encoding {
  readonly prompts: TaskPrompts;
  readonly signal: AbortSignal | undefined;
}

function findByRows(
  encoder: EncodesTexts,
  { prompts, signal }: Encoding,
  dimensions: number | undefined,
  similarity: Similarity,
): Find {
  return async (queries, documents, k) => {
    const rows = await encodeTexts(encoder, queries, { prompt: prompts.query, dimensions, signal }, 'query');
    try {
      return await (encoder.search ?? search)(rows, encoded(), { k, similarity });
    } finally {
      rows.dispose();
    }

    async function* encoded(): AsyncIterable<Tensor> {
      for (const texts of documents)
        yield await encodeTexts(encoder, texts, { prompt: prompts.document, dimensions, signal }, 'document');
    }
  };
}

function findByTokens(
  encoder: EncodesTokens,
  { prompts, signal }: Encoding,
  similarity: TokenSimilarity,
): Find {
  const encode = async (texts: readonly string[], task: 'query' | 'document') =>
    requireTokenRepresentations(
      await encoder.encodeTokens(texts, { task, prompt: prompts[task], signal }),
      texts.length,
    );
  return async (queries, documents, k) => {
    const tokens = await encode(queries, 'query');
    try {
      return await searchTokens(tokens, encoded(), { k, similarity });
    } finally {
      tokens.representations.dispose();
    }

    async function* encoded(): AsyncIterable<TokenRepresentations> {
      for (const texts of documents) yield await encode(texts, 'document');
    }
  };
}

function readOptions(encoder: EncodesTexts | EncodesTokens, options: RetrievalOptions) {
  checkKnown('evaluateRetrieval', options, [
    'recallAt',
    'measures',
    'similarity',
    'prompts',
    'dimensions',
    'block',
    'signal',
    'onProgress',
  ]);
  requireEncoder(encoder);
  const tokens = encodesTokens(encoder);
  const { recallAt = RECALL_AT, measures = [], prompts = {}, dimensions, signal, onProgress } = options;
  const { block = tokens ? 512 : 8192 } = options;
  checkKnown('prompts', prompts, ['query', 'document']);
  requireRecallAt(recallAt);
  readMeasures(measures);
  if (dimensions !== undefined) requireCount('dimensions', dimensions, 1);
  requireCount('block', block, 1);
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  if (tokens && dimensions !== undefined)
    throw refused('dimensions', dimensions, 'none for a model with a representation for each token, which');
  const encoding = { prompts: promptsFor(encoder, prompts), signal };
  const checked = { recallAt, measures, block, onProgress, active: undefined };
  if (tokens) {
    const similarity = chooseTokenSimilarity(options.similarity, encoder);
    return { ...checked, find: findByTokens(encoder, encoding, similarity) };
  }
  const similarity = chooseSimilarity(options.similarity, encoder);
  if (!isSparse(encoder)) return { ...checked, find: findByRows(encoder, encoding, dimensions, similarity) };
  if (dimensions !== undefined)
    throw refused('dimensions', dimensions, 'none, as sparse representations are compared whole,');
  const sparse = new SparseTexts(encoder, encoding, similarity);
  return { ...checked, find: sparse.find, active: () => sparse.active };
}

/**
 * The scores of a ranking that is already there, for instance of an index of your own.
 *
 * @param relevant for each query, the positions of its relevant documents with their grade
 * @param documents how many documents were searched
 * @param recallAt the k of recall@k; the ranking must list as many, and at least 10, or all documents
 * @param missing for each query, the grades of relevant documents that were not among those searched
 * @param measures further measures; the ranking must list as many documents as they look at
 * @throws GradCacheError `INPUT` for wrong arguments, `SHAPE` for a ranking of another number of queries
 * @example
 * ```ts
 * const ranking = await search(await model.encode(queries), await model.encode(documents), { k: 10 });
 * const relevant = queries.map((_, query) => new Map([[query, 1]])); // document i answers query i
 * console.log(scoreRanking(ranking, relevant, documents.length, [1, 10]).mrr10);
 * ```
 */
export function scoreRanking(
  ranking: Ranking,
  relevant: readonly ReadonlyMap<number, number>[],
  documents: number,
  recallAt: readonly number[] = RECALL_AT,
  missing?: readonly (readonly number[])[],
  measures: readonly RetrievalMeasure[] = [],
): RetrievalScores {
  requireCount('documents', documents, 1);
  requireRecallAt(recallAt);
  const further = readMeasures(measures);
  const deepest = Math.max(10, ...recallAt, deepestOf(further));
  checkRanking(ranking, relevant, missing, documents, deepest);
  const queries = relevant.map((grades, query): RankedQuery => ({
    listed: ranking.documents.subarray(query * ranking.k, (query + 1) * ranking.k),
    grades,
    missing: missing?.[query] ?? [],
  }));
  const mean = (kind: 'recall' | 'mrr' | 'ndcg', k: number): number => meanOf(queries, { kind, k });
  return {
    queries: relevant.length,
    documents,
    recall: Object.fromEntries(recallAt.map((k) => [k, mean('recall', k)])),
    mrr10: mean('mrr', 10),
    ndcg10: mean('ndcg', 10),
    ...(further.length > 0 && {
      measures: Object.fromEntries(further.map((measure) => [measure.name, meanOf(queries, measure)])),
    }),
  };
}

function meanOf(queries: readonly RankedQuery[], measure: Parameters<typeof measureQuery>[0]): number {
  return queries.reduce((sum, query) => sum + measureQuery(measure, query), 0) / queries.length;
}
