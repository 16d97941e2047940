import { SIMILARITIES, type Similarity } from '../options/similarity.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

/*
 * Scores of rows that lie side by side: row k of one tensor [N, d] with row k of another. Each gives [N]. They differ in
 * what keeps them from dividing by zero, as those of PyTorch and sentence-transformers do.
 */

/** How near each row is to that of the other tensor; more is nearer. */
export function pairScores(similarity: Similarity, first: Tensor, second: Tensor): Tensor {
  switch (similarity) {
    case 'cosine':
      return first.normalize().mul(second.normalize()).sum(1);
    case 'dot':
      return first.mul(second).sum(1);
    case 'euclidean':
    case 'manhattan':
      return length(first.sub(second), similarity).neg();
  }
}

/** The setting `similarity` of losses that compare by dot products unless told otherwise. */
export const DOT_OR_ANOTHER = {
  kind: 'choice',
  accepted: SIMILARITIES,
  default: 'dot',
  flag: 'similarity',
  help: 'dot (default), cosine, euclidean or manhattan',
} as const;

/** The cosine as PyTorch's `cosine_similarity` has it: neither length counts as less than 1e-8. */
export function pairCosines(first: Tensor, second: Tensor): Tensor {
  return call('aten::cosine_similarity', first, second, 1, 1e-8);
}

/** Lengths of rows. That of a row of zeros has the gradient 0. */
export function length(rows: Tensor, norm: 'euclidean' | 'manhattan'): Tensor {
  return call('aten::linalg_vector_norm', rows, norm === 'euclidean' ? 2 : 1, [-1]);
}

/** What a pair of rows is apart from each other. */
export type Distance = 'cosine' | 'euclidean' | 'manhattan';

export const DISTANCES: readonly Distance[] = ['cosine', 'euclidean', 'manhattan'];

/** Distances of the contrastive losses: 1 - {@link pairCosines}, or the length of the difference, each of its numbers plus 1e-6. */
export function pairDistances(distance: Distance, first: Tensor, second: Tensor): Tensor {
  if (distance === 'cosine') return pairCosines(first, second).neg().add(1);
  return call('aten::pairwise_distance', first, second, distance === 'euclidean' ? 2 : 1, 1e-6, false);
}
