import { checkKnown } from '../options/known-options.js';
import { DOCUMENTS, labelsOfLists, lengthsOf, listsOf, RELEVANCE } from './lists.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, pairLoss, type LogitActivation } from './pair-loss.js';
import { oneForEach } from './row-labels.js';

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
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: listNet() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { lists: [2], labels: [1, 0] } }); // a query with 2 documents, and their relevance
 * ```
 */
export function listNet(options: ListNetOptions = {}): LossWithGradients {
  checkKnown('listNet', options, ['activation']);
  const activate = activationNamed(options.activation);
  return pairLoss({
    name: 'listNet',
    takes: ['lists', 'labels'],
    read: (options, pairs) => {
      const lengths = lengthsOf(options, pairs);
      return { lengths, labels: labelsOfLists('listNet', options['labels'], lengths) };
    },
    loss: (logits, { lengths, labels }) => {
      const { scores, laidOut } = listsOf(activate(logits), lengths, UNSEEN);
      const wanted = laidOut(labels, -Infinity).softmax(1);
      return wanted.mul(scores.logSoftmax(1)).sum(1).mean().neg();
    },
  });
}

/** {@link listNet} in `train`. */
export const listNetKind: LossKind<Required<ListNetOptions>> = {
  about: "a cross-encoder: the softmax of a query's scores like that of its labels",
  columns: DOCUMENTS,
  pairs: { rows: 'documents', labels: 'one' },
  label: { type: 'numbers', needed: RELEVANCE, needs: oneForEach },
  comparesRows: false,
  settings: { activation: activationSetting('identity') },
  make: (settings) => listNet(settings),
};
