import { checkKnown } from '../options/known-options.js';
import { refused, requireFunction, requireOneOf } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { DOCUMENTS, labelsOfLists, lengthsOf, listsOf, RELEVANCE } from './lists.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, pairLoss, type LogitActivation } from './pair-loss.js';
import { oneForEach } from './row-labels.js';

/** Settings of {@link listMLE}, which {@link pListMLE} has too. */
export interface ListMLEOptions {
  /** The best order of a list: 'given', the order that the pairs come in; 'labels', by label from the highest. Default: 'given'. */
  readonly order?: 'given' | 'labels';
  /** Applied to the logits first. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

/** Settings of {@link pListMLE}. */
export interface PListMLEOptions extends ListMLEOptions {
  /**
   * How much the document of a rank counts, from 1, among so many; a query's are divided by their sum. Default:
   * `2^(documents - rank) - 1`.
   */
  readonly discount?: (rank: number, documents: number) => number;
}

/** The score of places that no document is in. It adds nothing to a sum of exponentials, and is finite. */
const UNSEEN = -1e30;
const LEAST_SUM = 1e-10;

/**
 * Position-aware ListMLE (Lan et al. 2014) for lists of documents: the mean over queries of
 * `-sum_r w_r (s_r - log(sum of exp(s_r), …, exp(s_n)))`, where the documents are in their best order and the weights `w` of a
 * query sum to 1. It is `PListMLELoss` of sentence-transformers.
 *
 * Towers: the logits of pairs [P, 1], query after query. `step([pairs], { loss: { lists } })` gives the number of pairs of each
 * query; with `order: 'labels'` also `labels`, how relevant each document is.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: pListMLE() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { lists: [2], labels: [1, 0] } }); // a query with 2 documents, and their relevance
 * ```
 */
export function pListMLE(options: PListMLEOptions = {}): LossWithGradients {
  checkKnown('pListMLE', options, ['discount', 'order', 'activation']);
  const { discount = halving } = options;
  requireFunction('discount', discount);
  return likelihoodOfOrder('pListMLE', options, (documents) => sharesOf(discount, documents));
}

/** Minus the logarithm of the probability of the best order. @param weights the weights of the ranks of so many documents */
export function likelihoodOfOrder(
  name: string,
  options: ListMLEOptions,
  weights: (documents: number) => readonly number[],
): LossWithGradients {
  const { order = 'given' } = options;
  requireOneOf('order', order, ['given', 'labels']);
  const activate = activationNamed(options.activation);
  return pairLoss({
    name,
    takes: ['lists', 'labels'],
    read: (options, pairs) => {
      const lengths = lengthsOf(options, pairs);
      const { labels } = options;
      const needed = order === 'labels' || labels !== undefined;
      return { lengths, labels: needed ? labelsOfLists(name, labels, lengths) : null };
    },
    loss: (logits, { lengths, labels }) => {
      const { scores, laidOut } = listsOf(activate(logits), lengths, UNSEEN);
      const sorted = order === 'given' ? scores : byLabel(scores, laidOut(labels!, -Infinity));
      const following = flip(call('aten::logcumsumexp', flip(sorted), 1));
      return sorted
        .sub(following)
        .mul(laidOut(lengths.flatMap(weights), 0))
        .sum(1)
        .mean()
        .neg();
    },
  });
}

const flip = (rows: Tensor): Tensor => call('aten::flip', rows, [1]);

function byLabel(scores: Tensor, labels: Tensor): Tensor {
  const [, order] = call<[Tensor, Tensor]>('aten::sort', labels, 1, true);
  return call('aten::gather', scores, 1, order);
}

/** 2^(documents - rank) - 1; in a long list divided by a power of two, so that none is infinite. */
function halving(rank: number, documents: number): number {
  const scale = Math.max(0, documents - 127);
  return 2 ** (documents - rank - scale) - 2 ** -scale;
}

/** @throws GradCacheError `INPUT` for a discount that is no number from 0 */
function sharesOf(discount: (rank: number, documents: number) => number, documents: number): number[] {
  const weights = Array.from({ length: documents }, (_, place) => discount(place + 1, documents));
  for (const [place, weight] of weights.entries())
    if (!(Number.isFinite(weight) && weight >= 0))
      throw refused(`discount(${place + 1}, ${documents})`, weight, 'a finite number from 0');
  const sum = weights.reduce((sum, weight) => sum + weight, LEAST_SUM);
  return weights.map((weight) => weight / sum);
}

/** What {@link listMLE} and {@link pListMLE} have in common in `train`. */
export const orderKind = {
  columns: DOCUMENTS,
  pairs: { rows: 'documents', labels: 'one' },
  label: { type: 'numbers', needed: RELEVANCE, optional: true, needs: oneForEach },
  comparesRows: false,
  settings: {
    order: {
      kind: 'choice',
      accepted: ['given', 'labels'],
      default: 'given',
      help: 'the best order of a list: the one in the data, or by label',
    },
    activation: activationSetting('identity'),
  },
} as const satisfies Omit<LossKind<Required<ListMLEOptions>>, 'about' | 'make'>;

/** {@link pListMLE} in `train`. */
export const pListMLEKind: LossKind<Required<ListMLEOptions>> = {
  ...orderKind,
  about: 'a cross-encoder: the best order of documents most likely, its first places above all',
  make: (settings) => pListMLE(settings),
};
