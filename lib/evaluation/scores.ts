import { refused } from '../options/option-values.js';
import type { BinaryScores } from './binary.js';
import type { RankMeasures } from './rank-measures.js';
import type { RerankingScores, RerankingTask } from './reranking.js';
import { RECALL_AT, type RetrievalScores } from './retrieval.js';
import type { StsScores } from './sts.js';
import type { TranslationScores } from './translation.js';

/**
 * Scores as one flat record under their usual names: `recall@10`, `mrr@10`, `ndcg@10`, of a sparse encoder also
 * `query-active-dims` and `document-active-dims`; or `spearman`, `pearson`; or `map`, `mrr@10`, `ndcg@10` and the same of
 * the first stage as `base_map`, …
 *
 * @throws GradCacheError `INPUT` for what neither evaluation gives
 * @example
 * ```ts
 * const scores = await evaluateRetrieval(model, await readRetrievalPairs('held-out.jsonl'));
 * console.log(flattenScores(scores)); // by the names of the command line: 'mrr@10', 'ndcg@10', …
 * ```
 */
export function flattenScores(scores: RetrievalScores | StsScores | RerankingScores): Record<string, number> {
  const { spearman, recall, map } = (scores ?? {}) as Partial<RetrievalScores & StsScores & RerankingScores>;
  const ofRetrieval = typeof recall === 'object' && recall !== null;
  if (typeof spearman !== 'number' && typeof map !== 'number' && !ofRetrieval)
    throw refused('scores', scores, 'what evaluateRetrieval, evaluateSts or evaluateReranking gives');
  if ('map' in scores) {
    const { at, firstStage } = scores;
    return { ...named(scores, at), ...(firstStage && named(firstStage, at, 'base_')) };
  }
  if ('spearman' in scores) return { spearman: scores.spearman, pearson: scores.pearson };
  const flat: Record<string, number> = {};
  for (const [k, recall] of Object.entries(scores.recall)) flat[`recall@${k}`] = recall;
  const { activeDimensions: active, measures } = scores;
  return {
    ...flat,
    'mrr@10': scores.mrr10,
    'ndcg@10': scores.ndcg10,
    ...measures,
    ...(active && { 'query-active-dims': active.queries, 'document-active-dims': active.documents }),
  };
}

function named({ map, mrr, ndcg }: RankMeasures, at: number, prefix = ''): Record<string, number> {
  return { [`${prefix}map`]: map, [`${prefix}mrr@${at}`]: mrr, [`${prefix}ndcg@${at}`]: ndcg };
}

/** Scores of binary pairs under the names of sentence-transformers. */
export function flattenBinary({ pairs: _, accuracyThreshold, f1Threshold, ...scores }: BinaryScores) {
  return { ...scores, accuracy_threshold: accuracyThreshold, f1_threshold: f1Threshold };
}

/** What {@link flattenScores} calls the scores of sentence pairs. */
export const STS_NAMES = ['spearman', 'pearson'] as const;

/** What the scores of clusters are called. */
export const CLUSTERING_NAMES = ['accuracy', 'nmi'] as const;

/** What {@link flattenBinary} calls them. */
export const BINARY_NAMES = [
  'accuracy',
  'f1',
  'precision',
  'recall',
  'ap',
  'mcc',
  'accuracy_threshold',
  'f1_threshold',
] as const;

/** Scores of translations under the names of sentence-transformers. */
export function flattenTranslation({ sourceToTarget, targetToSource, accuracy }: TranslationScores) {
  return {
    mean_accuracy: accuracy,
    src2trg_accuracy: sourceToTarget,
    trg2src_accuracy: targetToSource,
  };
}

/** What {@link flattenTranslation} calls them. */
export const TRANSLATION_NAMES = ['mean_accuracy', 'src2trg_accuracy', 'trg2src_accuracy'] as const;

/** What {@link flattenScores} calls the scores of retrieval by default, beside further measures. */
export function retrievalNames(measures: readonly string[] = []): string[] {
  return [...new Set([...RECALL_AT.map((k) => `recall@${k}`), 'mrr@10', 'ndcg@10', ...measures])];
}

/** What {@link flattenScores} calls the scores of reranking. */
export function rerankingNames({ queries }: RerankingTask, at = 10): string[] {
  const names = ['map', `mrr@${at}`, `ndcg@${at}`];
  const hasOrder = queries.every(({ documents }) => documents !== undefined);
  return [...names, ...(hasOrder ? names.map((name) => `base_${name}`) : [])];
}
