import type { RetrievalScores } from './retrieval.js';
import type { StsScores } from './sts.js';

/** Scores as one flat record under their usual names: `recall@10`, `mrr@10`, `ndcg@10`, or `spearman`, `pearson`. */
export function flattenScores(scores: RetrievalScores | StsScores): Record<string, number> {
  if ('spearman' in scores) return { spearman: scores.spearman, pearson: scores.pearson };
  const flat: Record<string, number> = {};
  for (const [k, recall] of Object.entries(scores.recall)) flat[`recall@${k}`] = recall;
  return { ...flat, 'mrr@10': scores.mrr10, 'ndcg@10': scores.ndcg10 };
}
