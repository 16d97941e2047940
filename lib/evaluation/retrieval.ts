import { requireCount } from '../option-values.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../known-options.js';
import type { Tensor } from '../tensor.js';
import { search, type Ranking, type Similarity } from './search.js';

/** What is to be found: texts, and for each query the documents that answer it. */
export interface RetrievalTask {
  readonly queries: readonly string[];
  readonly documents: readonly string[];
  /** For each query, the positions of its relevant documents with their grade (1 where there are no grades). */
  readonly relevant: readonly ReadonlyMap<number, number>[];
}

/** Means over the queries, each from 0 to 1. */
export interface RetrievalScores {
  readonly queries: number;
  readonly documents: number;
  /** By k: the part of a query's relevant documents among the first k. */
  readonly recall: Readonly<Record<number, number>>;
  /** 1 / (rank of the first relevant document), 0 where it is beyond rank 10. */
  readonly mrr10: number;
  /** Discounted cumulative gain of the first 10 against the best possible, linear gains (as trec_eval counts). */
  readonly ndcg10: number;
}

/** What retrieval and STS need of an encoder; `TextEncoder` has it. */
export interface EncodesTexts {
  encode(
    texts: readonly string[],
    options?: { prompt?: string; tokensPerChunk?: number; signal?: AbortSignal },
  ): Promise<Tensor>;
}

/** Settings of {@link evaluateRetrieval}. */
export interface RetrievalOptions {
  /** The k of recall@k. Default [1, 5, 10, 100]. */
  readonly recallAt?: readonly number[];
  /** Default 'cosine'. */
  readonly similarity?: Similarity;
  /** Name of a prompt of the model, put before each query or each document. */
  readonly prompts?: { readonly query?: string; readonly document?: string };
  /** Documents encoded and searched at a time; bounds memory. Default 8192. */
  readonly block?: number;
  readonly signal?: AbortSignal;
  /** Told after every block: texts encoded, texts in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Encodes queries and documents and searches exactly; representations of documents are held one block at a time.
 *
 * @throws GradCacheError `INPUT` for a task without queries, documents or relevant documents, `NON_FINITE` where a
 * representation is not
 */
export async function evaluateRetrieval(
  encoder: EncodesTexts,
  task: RetrievalTask,
  options: RetrievalOptions = {},
): Promise<RetrievalScores> {
  const { recallAt = [1, 5, 10, 100], similarity, prompts = {}, block = 8192, signal, onProgress } = options;
  checkKnown('evaluateRetrieval', options, [
    'recallAt',
    'similarity',
    'prompts',
    'block',
    'signal',
    'onProgress',
  ]);
  checkKnown('prompts', prompts, ['query', 'document']);
  for (const k of recallAt) requireCount('recallAt', k, 1);
  checkTask(task);
  const total = task.queries.length + task.documents.length;
  const queries = await encoder.encode(task.queries, { prompt: prompts.query, signal });
  try {
    onProgress?.(task.queries.length, total);
    const ranking = await search(queries, encodeBlocks(), { k: Math.max(10, ...recallAt), similarity });
    return scoreRanking(ranking, task.relevant, task.documents.length, recallAt);
  } finally {
    queries.dispose();
  }

  async function* encodeBlocks(): AsyncIterable<Tensor> {
    for (let start = 0; start < task.documents.length; start += block) {
      const texts = task.documents.slice(start, start + block);
      yield await encoder.encode(texts, { prompt: prompts.document, signal });
      onProgress?.(task.queries.length + start + texts.length, total);
    }
  }
}

/** The scores of a ranking that is already there, for instance of an index of your own. */
export function scoreRanking(
  ranking: Ranking,
  relevant: readonly ReadonlyMap<number, number>[],
  documents: number,
  recallAt: readonly number[] = [1, 5, 10, 100],
): RetrievalScores {
  const recall: Record<number, number> = Object.fromEntries(recallAt.map((k) => [k, 0]));
  let mrr10 = 0;
  let ndcg10 = 0;
  relevant.forEach((grades, query) => {
    const listed = ranking.documents.subarray(query * ranking.k, (query + 1) * ranking.k);
    for (const k of recallAt) {
      let found = 0;
      for (const document of listed.subarray(0, k)) if (grades.has(document)) found++;
      recall[k] = (recall[k] as number) + found / grades.size;
    }
    const first = listed.subarray(0, 10).findIndex((document) => grades.has(document));
    if (first >= 0) mrr10 += 1 / (first + 1);
    ndcg10 +=
      gain(Array.from(listed.subarray(0, 10), (document) => grades.get(document) ?? 0)) / idealGain(grades);
  });
  const n = relevant.length;
  for (const k of recallAt) recall[k] = (recall[k] as number) / n;
  return { queries: n, documents, recall, mrr10: mrr10 / n, ndcg10: ndcg10 / n };
}

/** Discounted cumulative gain of grades in ranked order. */
function gain(grades: readonly number[]): number {
  return grades.reduce((sum, grade, place) => sum + grade / Math.log2(place + 2), 0);
}

function idealGain(grades: ReadonlyMap<number, number>): number {
  return gain([...grades.values()].sort((a, b) => b - a).slice(0, 10));
}

function checkTask(task: RetrievalTask): void {
  const { queries, documents, relevant } = task;
  if (queries.length === 0 || documents.length === 0) {
    throw new GradCacheError(
      'INPUT',
      `Retrieval needs queries and documents; got ${queries.length} and ${documents.length}.`,
    );
  }
  if (relevant.length !== queries.length) {
    throw new GradCacheError(
      'SHAPE',
      `There are ${queries.length} queries, but relevant documents for ${relevant.length}.`,
    );
  }
  relevant.forEach((grades, query) => {
    let best = 0;
    for (const [document, grade] of grades) {
      if (!(document in documents)) {
        throw new GradCacheError(
          'INPUT',
          `Query ${query} names document ${document}; there are ${documents.length}.`,
        );
      }
      if (!(grade > 0)) {
        throw new GradCacheError(
          'INPUT',
          `Query ${query} gives document ${document} the grade ${grade}; it must be above 0.`,
        );
      }
      best = Math.max(best, grade);
    }
    if (best === 0)
      throw new GradCacheError('INPUT', `Query ${query} has no relevant document; leave it out.`);
  });
}
