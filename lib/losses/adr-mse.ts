import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import type { Tensor } from '../tensor/tensor.js';
import { listPairsLoss } from './list-pairs.js';
import { DOCUMENTS, labelsOfLists, lengthsOf, RELEVANCE } from './lists.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, type LogitActivation } from './pair-loss.js';
import { oneForEach } from './row-labels.js';

/** Settings of {@link adrMSE}. */
export interface ADRMSEOptions {
  /** How sharply ranks are told from scores: differences of scores are multiplied by it; above 0. Default: 1. */
  readonly alpha?: number;
  /** Applied to the logits first. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

/**
 * Approximate discounted rank MSE for lists of documents: the mean over documents of `(r - r̂)² / log2(r + 1)`. Here r is a
 * document's rank by label, the mean rank of those with the same label, and
 * `r̂_i = 1 + sum over other documents j of sigmoid(alpha (s_j - s_i))`. It is `ADRMSELoss` of sentence-transformers.
 *
 * Towers: the logits of pairs [P, 1], query after query. `step([pairs], { loss: { lists, labels } })` gives the number of
 * pairs of each query, and how relevant each document is. Computed in tiles: all pairs of documents never exist at once.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: adrMSE() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { lists: [2], labels: [1, 0] } }); // a query with 2 documents, and their relevance
 * ```
 */
export function adrMSE(options: ADRMSEOptions = {}): LossWithGradients {
  checkKnown('adrMSE', options, ['alpha', 'activation']);
  const { alpha = 1, activation = 'identity' } = options;
  requireNumber('alpha', alpha, { above: 0 });
  const activate = activationNamed(activation);
  return listPairsLoss({
    name: 'adrMSE',
    read: (options, pairs) => {
      const lengths = lengthsOf(options, pairs);
      return { lengths, ranks: ranksByLabel(labelsOfLists('adrMSE', options['labels'], lengths), lengths) };
    },
    activate,
    empty: 0,
    sorts: false,
    prepare: ({ present, laidOut }, { ranks }) => ({
      present,
      ranks: laidOut(ranks, 0),
      shares: laidOut(
        ranks.map((rank) => 1 / Math.log2(rank + 1)),
        0,
      ),
    }),
    terms: ({ query, queries, place, places }, scores, { present, ranks, shares }) => {
      const longest = scores.shape[1]!;
      const all = scores.narrow(0, query, queries);
      const some = (of: Tensor): Tensor => of.narrow(0, query, queries).narrow(1, place, places);
      const ahead = all.reshape([queries, 1, longest]).sub(some(scores).reshape([queries, places, 1]));
      const there = present.narrow(0, query, queries).reshape([queries, 1, longest]);
      // A document is ahead of itself by half.
      const estimated = ahead.mul(alpha).sigmoid().mul(there).sum(2).add(0.5);
      const error = some(ranks).sub(estimated);
      return { sum: error.mul(error).mul(some(shares)).sum(), count: noGrad(() => some(present).sum()) };
    },
  });
}

/** The rank of each document in its list from 1; documents with the same label have the mean of their ranks. */
function ranksByLabel(labels: readonly number[], lengths: readonly number[]): number[] {
  let begin = 0;
  return lengths.flatMap((length) => {
    const list = labels.slice(begin, begin + length);
    begin += length;
    return list.map((label) => {
      const higher = list.filter((other) => other > label).length;
      const equal = list.filter((other) => other === label).length;
      return higher + (equal + 1) / 2;
    });
  });
}

/** {@link adrMSE} in `train`. */
export const adrMSEKind: LossKind<Required<ADRMSEOptions>> = {
  about: "a cross-encoder: ranks like those of a query's labels",
  columns: DOCUMENTS,
  pairs: { rows: 'documents', labels: 'one' },
  label: { type: 'numbers', needed: RELEVANCE, needs: oneForEach },
  comparesRows: false,
  settings: {
    alpha: { kind: 'number', above: 0, default: 1, help: 'multiplies differences of scores' },
    activation: activationSetting('identity'),
  },
  make: (settings) => adrMSE(settings),
};
