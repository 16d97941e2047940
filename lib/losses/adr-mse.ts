import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import { listsOf } from './lists.js';
import { activationNamed, neededLabels, type LogitActivation, type PairLoss } from './pair-logits.js';

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
export function adrMSE(options: ADRMSEOptions = {}): PairLoss {
  checkKnown('adrMSE', options, ['alpha', 'activation']);
  const { alpha = 1, activation = 'identity' } = options;
  requireNumber('alpha', alpha, { above: 0 });
  const activate = activationNamed(activation);
  return (logits, options) => {
    checkKnown('the loss of adrMSE', options, ['lists', 'labels']);
    const pairs = logits.shape[0]!;
    const { scores, present, lengths, laidOut } = listsOf(activate(logits), options['lists'], 0);
    const [queries, longest] = scores.shape as [number, number];
    const ranks = ranksByLabel(neededLabels(options['labels'], pairs), lengths);
    const shares = laidOut(
      ranks.map((rank) => 1 / Math.log2(rank + 1)),
      0,
    );
    const ahead = scores.reshape([queries, 1, longest]).sub(scores.reshape([queries, longest, 1]));
    const counted = call<typeof ahead>('aten::sigmoid', ahead.mul(alpha)).mul(
      present.reshape([queries, 1, longest]),
    );
    // A document is ahead of itself by half.
    const estimated = counted.sum(2).add(0.5);
    const error = laidOut(ranks, 0).sub(estimated);
    return error.mul(error).mul(shares).sum().div(pairs);
  };
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
