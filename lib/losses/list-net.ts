import { checkKnown } from '../options/known-options.js';
import { listsOf } from './lists.js';
import { activationNamed, neededLabels, type LogitActivation, type PairLoss } from './pair-logits.js';

/** Settings of {@link listNet}. */
export interface ListNetOptions {
  /** Applied to the logits first. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

/** The score of places that no document is in. Its probability is 0, and it is finite: 0 times it is 0. */
const UNSEEN = -1e16;

/**
 * ListNet (Cao et al. 2007) for lists of documents: the mean over queries of the cross-entropy of the softmax of the scores
 * against the softmax of the labels. It is `ListNetLoss` of sentence-transformers.
 *
 * Towers: the logits of pairs [P, 1], query after query. `step([pairs], { loss: { lists, labels } })` gives the number of
 * pairs of each query, and how relevant each document is.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function listNet(options: ListNetOptions = {}): PairLoss {
  checkKnown('listNet', options, ['activation']);
  const activate = activationNamed(options.activation ?? 'identity');
  return (logits, options) => {
    checkKnown('the loss of listNet', options, ['lists', 'labels']);
    const { scores, laidOut } = listsOf(activate(logits), options['lists'], UNSEEN);
    const labels = laidOut(neededLabels(options['labels'], logits.shape[0]!), -Infinity);
    return labels.softmax(1).mul(scores.logSoftmax(1)).sum(1).mean().neg();
  };
}
