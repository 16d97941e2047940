import { refused } from '../options/option-values.js';
import type { RetrievalScores } from './retrieval.js';
import type { StsScores } from './sts.js';

/**
 * Scores as one flat record under their usual names: `recall@10`, `mrr@10`, `ndcg@10`, or `spearman`, `pearson`.
 *
 * @throws GradCacheError `INPUT` for what neither evaluation gives
 */
export function flattenScores(scores: RetrievalScores | StsScores): Record<string, number> {
  const { spearman, recall } = (scores ?? {}) as Partial<RetrievalScores & StsScores>;
  if (typeof spearman !== 'number' && (typeof recall !== 'object' || recall === null))
    throw refused('scores', scores, 'what evaluateRetrieval or evaluateSts gives');
  if ('spearman' in scores) return { spearman: scores.spearman, pearson: scores.pearson };
  const flat: Record<string, number> = {};
  for (const [k, recall] of Object.entries(scores.recall)) flat[`recall@${k}`] = recall;
  return { ...flat, 'mrr@10': scores.mrr10, 'ndcg@10': scores.ndcg10 };
}
