import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { DOCUMENTS, labelsOfLists, lengthsOf, listsOf, RELEVANCE } from './lists.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, pairLoss, type LogitActivation } from './pair-loss.js';

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
 * pairs of each query, and how relevant each document is. All pairs of documents of a query exist at once.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function adrMSE(options: ADRMSEOptions = {}): LossWithGradients {
  checkKnown('adrMSE', options, ['alpha', 'activation']);
  const { alpha = 1, activation = 'identity' } = options;
  requireNumber('alpha', alpha, { above: 0 });
  const activate = activationNamed(activation);
  return pairLoss({
    name: 'adrMSE',
    takes: ['lists', 'labels'],
    read: (options, pairs) => {
      const lengths = lengthsOf(options, pairs);
      return { lengths, ranks: ranksByLabel(labelsOfLists('adrMSE', options['labels'], lengths), lengths) };
    },
    loss: (logits, { lengths, ranks }) => {
      const { scores, present, laidOut } = listsOf(activate(logits), lengths, 0);
      const [queries, longest] = scores.shape as [number, number];
      const ahead = scores.reshape([queries, 1, longest]).sub(scores.reshape([queries, longest, 1]));
      // A document is ahead of itself by half.
      const estimated = ahead
        .mul(alpha)
        .sigmoid()
        .mul(present.reshape([queries, 1, longest]))
        .sum(2)
        .add(0.5);
      const error = laidOut(ranks, 0).sub(estimated);
      const shares = ranks.map((rank) => 1 / Math.log2(rank + 1));
      return error.mul(error).mul(laidOut(shares, 0)).sum().div(ranks.length);
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
  label: { type: 'numbers', needed: RELEVANCE },
  comparesRows: false,
  settings: {
    alpha: { kind: 'number', above: 0, default: 1, help: 'multiplies differences of scores' },
    activation: activationSetting('identity'),
  },
  make: (settings) => adrMSE(settings),
};
