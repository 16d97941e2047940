import { checkKnown } from '../options/known-options.js';
import { rankingKind, weightedPairs, type RankNetOptions, type RankNetSettings } from './lambda-loss.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';

/**
 * RankNet (Burges et al. 2005) for lists of documents: minus the mean over pairs (i, j) of documents of one query, i with the
 * higher label, of `log(sigmoid(sigma (s_i - s_j)))`. It is `RankNetLoss` of sentence-transformers, and {@link lambdaLoss}
 * without weights, whose towers and keyword arguments it has.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: rankNet() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { lists: [2], labels: [1, 0] } }); // a query with 2 documents, and their relevance
 * ```
 */
export function rankNet(options: RankNetOptions = {}): LossWithGradients {
  checkKnown('rankNet', options, ['k', 'sigma', 'epsilon', 'logarithm', 'activation']);
  return weightedPairs('rankNet', { ...options, weighting: 'none' });
}

/** {@link rankNet} in `train`. */
export const rankNetKind: LossKind<RankNetSettings> = {
  ...rankingKind,
  about: 'a cross-encoder: pairs of documents of a query in order',
  make: ({ k, ...settings }) => rankNet({ ...settings, ...(k !== null && { k }) }),
};
