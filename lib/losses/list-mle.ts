import { checkKnown } from '../options/known-options.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { likelihoodOfOrder, orderKind, type ListMLEOptions } from './p-list-mle.js';

/**
 * ListMLE (Xia et al. 2008) for lists of documents: minus the log-likelihood of the best order, the mean over queries of
 * `-sum_r (s_r - log(sum of exp(s_r), …, exp(s_n)))`. It is `ListMLELoss` of sentence-transformers, and {@link pListMLE}
 * without weights, whose towers and keyword arguments it has.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: listMLE() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { lists: [2], labels: [1, 0] } }); // a query with 2 documents, and their relevance
 * ```
 */
export function listMLE(options: ListMLEOptions = {}): LossWithGradients {
  checkKnown('listMLE', options, ['order', 'activation']);
  return likelihoodOfOrder('listMLE', options, (documents) => Array.from({ length: documents }, () => 1));
}

/** {@link listMLE} in `train`. */
export const listMLEKind: LossKind<Required<ListMLEOptions>> = {
  ...orderKind,
  about: 'a cross-encoder: the best order of documents most likely',
  make: (settings) => listMLE(settings),
};
