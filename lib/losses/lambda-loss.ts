import { checkKnown } from '../options/known-options.js';
import { requireCount, requireNumber, requireOneOf } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { listPairsLoss, type PairTile } from './list-pairs.js';
import { DOCUMENTS, labelsOfLists, lengthsOf, RELEVANCE } from './lists.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, like, type LogitActivation } from './pair-loss.js';
import { oneForEach } from './row-labels.js';

/** How {@link lambdaLoss} weights two documents of a query. */
export type LambdaWeighting = 'none' | 'ndcg1' | 'ndcg2' | 'lambdaRank' | 'ndcg2++';

/** Settings of {@link rankNet}, which {@link lambdaLoss} has too. */
export interface RankNetOptions {
  /** Only pairs with a document among the first `k` by score count. Default: all. */
  readonly k?: number;
  /** Differences of scores are multiplied by it; above 0. Default: 1. */
  readonly sigma?: number;
  /** The least ideal gain that gains are divided by. Default: 1e-10. */
  readonly epsilon?: number;
  /** The base of the logarithm. Default: 'binary'. */
  readonly logarithm?: 'binary' | 'natural';
  /** Applied to the logits first. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

/** Settings of {@link lambdaLoss}; the defaults are those of sentence-transformers. */
export interface LambdaLossOptions extends RankNetOptions {
  /** Default: 'ndcg2++'. */
  readonly weighting?: LambdaWeighting;
  /** How much 'ndcg2' counts in 'ndcg2++', against 'lambdaRank'. Default: 10. */
  readonly mu?: number;
}

export const WEIGHTINGS: readonly LambdaWeighting[] = ['none', 'ndcg1', 'ndcg2', 'lambdaRank', 'ndcg2++'];

/** Larger differences of scores have no larger loss. */
const MOST_DIFFERENCE = 1e8;

/**
 * LambdaLoss (Wang et al. 2018) for lists of documents: minus the mean over pairs (i, j) of documents of one query, i with the
 * higher label, of `w_ij log(sigmoid(sigma (s_i - s_j)))`. It is `LambdaLoss` of sentence-transformers. With gains
 * `G = (2^label - 1) / (ideal gain of the query)` and discounts `D_r = log2(1 + r)` at rank r by score:
 *
 * - `'none'`: w = 1, as {@link rankNet};
 * - `'ndcg1'`: `G_i / D_i`, for all i and j;
 * - `'ndcg2'`: `|1 / D_d - 1 / D_(d+1)| |G_i - G_j|`, where d is the distance of the two ranks;
 * - `'lambdaRank'`: `|1 / D_i - 1 / D_j| |G_i - G_j|`;
 * - `'ndcg2++'`: `mu` times `'ndcg2'` plus `'lambdaRank'`.
 *
 * Towers: the logits of pairs [P, 1], query after query. `step([pairs], { loss: { lists, labels } })` gives the number of
 * pairs of each query, and how relevant each document is (a number; below 0 it has no gain). Computed in tiles: all pairs of
 * documents never exist at once.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: lambdaLoss() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { lists: [2], labels: [1, 0] } }); // a query with 2 documents, and their relevance
 * ```
 */
export function lambdaLoss(options: LambdaLossOptions = {}): LossWithGradients {
  const names = ['weighting', 'mu', 'k', 'sigma', 'epsilon', 'logarithm', 'activation'];
  checkKnown('lambdaLoss', options, names);
  return weightedPairs('lambdaLoss', options);
}

/** {@link lambdaLoss} under the name of the loss that is made of it. @throws GradCacheError `INPUT` */
export function weightedPairs(name: string, options: LambdaLossOptions): LossWithGradients {
  const { weighting = 'ndcg2++', mu = 10, k, sigma = 1, epsilon = 1e-10, logarithm = 'binary' } = options;
  requireOneOf('weighting', weighting, WEIGHTINGS);
  requireNumber('mu', mu, { from: 0 });
  if (k !== undefined) requireCount('k', k, 1);
  requireNumber('sigma', sigma, { above: 0 });
  requireNumber('epsilon', epsilon, { above: 0 });
  requireOneOf('logarithm', logarithm, ['binary', 'natural']);
  const activate = activationNamed(options.activation);
  return listPairsLoss({
    name,
    read: (options, pairs) => {
      const lengths = lengthsOf(options, pairs);
      return { lengths, numbers: labelsOfLists(name, options['labels'], lengths) };
    },
    activate,
    empty: UNSEEN,
    sorts: true,
    prepare: ({ present, laidOut }, { numbers }, order) => {
      const labels = laidOut(numbers, 0);
      const truth: Tensor = call('aten::gather', labels, 1, order!);
      return {
        truth,
        seen: call<Tensor>('aten::gather', present, 1, order!),
        gains: gainsOf(truth, idealGains(labels, k, epsilon)),
      };
    },
    terms: (tile, sorted, { truth, seen, gains }) => {
      const { weights, compared } = noGrad(() => ({
        weights: weightsOf(weighting, mu, gains, tile),
        compared: comparedPairs(truth, seen, tile, { k, inOrder: weighting !== 'ndcg1' }),
      }));
      const differences = call<Tensor>(
        'aten::clamp',
        between(sorted, tile),
        -MOST_DIFFERENCE,
        MOST_DIFFERENCE,
      );
      const likelihoods = call<Tensor>('aten::log_sigmoid', differences.mul(sigma));
      return { sum: likelihoods.mul(weights).mul(compared).sum().neg(), count: noGrad(() => compared.sum()) };
    },
    divisor: logarithm === 'binary' ? Math.LN2 : 1,
  });
}

/** The score of places that no document is in: behind all others, and finite. */
const UNSEEN = -1e16;

/** values[:, i] - values[:, j] of a tile, [queries, places, longest]. */
function between(values: Tensor, { query, queries, place, places }: PairTile): Tensor {
  const all = values.narrow(0, query, queries);
  const longest = values.shape[1]!;
  return all
    .narrow(1, place, places)
    .reshape([queries, places, 1])
    .sub(all.reshape([queries, 1, longest]));
}

/** 1 for the pairs (i, j) of documents, in the order of their scores, that the loss is over. */
function comparedPairs(
  truth: Tensor,
  seen: Tensor,
  tile: PairTile,
  { k, inOrder }: { readonly k: number | undefined; readonly inOrder: boolean },
): Tensor {
  const { query, queries, place, places } = tile;
  const longest = seen.shape[1]!;
  const { dtype } = seen;
  const here = seen.narrow(0, query, queries);
  const both = here
    .narrow(1, place, places)
    .reshape([queries, places, 1])
    .mul(here.reshape([queries, 1, longest]));
  const ordered = inOrder
    ? both.mul(call<Tensor>('aten::gt.Scalar', between(truth, tile), 0).to({ dtype }))
    : both;
  if (k === undefined || k >= longest) return ordered;
  const below = like(
    seen,
    range(longest).map((rank) => (rank < k ? 0 : 1)),
  );
  return ordered.mul(below.narrow(0, place, places).reshape([places, 1]).mul(below).neg().add(1));
}

const discount = (rank: number): number => Math.log2(1 + rank);

const range = (count: number): number[] => Array.from({ length: count }, (_, k) => k);

/** 2^label - 1, and 0 for labels below 0. */
const rawGains = (labels: Tensor): Tensor =>
  call<Tensor>('aten::exp2', call('aten::clamp', labels, 0)).sub(1);

/** The gain of each query's first `k` documents in the best order, [queries, 1]. */
function idealGains(labels: Tensor, k: number | undefined, epsilon: number): Tensor {
  const longest = labels.shape[1]!;
  const [best] = call<[Tensor, Tensor]>('aten::sort', rawGains(labels), 1, true);
  const shares = range(longest).map((place) => (k !== undefined && place >= k ? 0 : 1 / discount(place + 1)));
  const sums = best.mul(like(labels, shares)).sum(1);
  return call<Tensor>('aten::clamp', sums, epsilon).reshape([-1, 1]);
}

const gainsOf = (truth: Tensor, ideal: Tensor): Tensor => rawGains(truth).div(ideal);

/** What broadcasts to [queries, places, longest] of a tile. @param gains in the order of the scores */
function weightsOf(weighting: LambdaWeighting, mu: number, gains: Tensor, tile: PairTile): Tensor {
  const { query, queries, place, places } = tile;
  const inverse = range(gains.shape[1]! + 1).map((rank) => 1 / discount(rank + 1));
  const apart = (): Tensor => call('aten::abs', between(gains, tile));
  switch (weighting) {
    case 'none':
      return call('aten::ones_like', gains.narrow(0, 0, 1).narrow(1, 0, 1).reshape([1, 1, 1]));
    case 'ndcg1':
      return gains
        .narrow(0, query, queries)
        .narrow(1, place, places)
        .mul(like(gains, inverse.slice(place, place + places)))
        .reshape([queries, places, 1]);
    case 'ndcg2':
      return apart().mul(byDistance(gains, inverse, tile));
    case 'lambdaRank':
      return apart().mul(byRank(gains, inverse, tile));
    case 'ndcg2++':
      return apart().mul(
        byDistance(gains, inverse, tile)
          .mul(mu)
          .add(byRank(gains, inverse, tile)),
      );
  }
}

/** The differences of inverse discounts at the distance of two ranks and one further, [places, longest]. */
function byDistance(gains: Tensor, inverse: readonly number[], { place, places }: PairTile): Tensor {
  const longest = gains.shape[1]!;
  const steps = range(longest).map((d) => (d === 0 ? 0 : Math.abs(inverse[d - 1]! - inverse[d]!)));
  const { device } = gains;
  const ranks: Tensor = call('aten::arange', longest, { device, dtype: 'int32' });
  const apart: Tensor = call('aten::abs', ranks.narrow(0, place, places).reshape([places, 1]).sub(ranks));
  return like(gains, steps)
    .indexSelect(0, apart.reshape([places * longest]))
    .reshape([places, longest]);
}

/** The differences of inverse discounts at two ranks, [places, longest]. */
function byRank(gains: Tensor, inverse: readonly number[], { place, places }: PairTile): Tensor {
  const ranks = like(gains, inverse.slice(0, gains.shape[1]));
  return call('aten::abs', ranks.narrow(0, place, places).reshape([places, 1]).sub(ranks));
}

/** {@link rankNet} in a configuration. */
export interface RankNetSettings extends Required<Omit<RankNetOptions, 'k'>> {
  /** Only pairs with a document among the first `k` by score count; null: all. */
  readonly k: number | null;
}

/** {@link lambdaLoss} in a configuration. */
export interface LambdaLossSettings extends RankNetSettings, Required<Omit<LambdaLossOptions, 'k'>> {}

/** What {@link rankNet} and {@link lambdaLoss} have in common in `train`. */
export const rankingKind = {
  columns: DOCUMENTS,
  pairs: { rows: 'documents', labels: 'one' },
  label: { type: 'numbers', needed: RELEVANCE, needs: oneForEach },
  comparesRows: false,
  settings: {
    k: {
      kind: 'number',
      from: 1,
      whole: true,
      default: null,
      help: 'only pairs with a document among the first k by score count; default: all',
    },
    sigma: { kind: 'number', above: 0, default: 1, help: 'multiplies differences of scores' },
    epsilon: {
      kind: 'number',
      above: 0,
      default: 1e-10,
      help: 'the least ideal gain that gains are divided by',
    },
    logarithm: {
      kind: 'choice',
      accepted: ['binary', 'natural'],
      default: 'binary',
      help: 'the base of the logarithm',
    },
    activation: activationSetting('identity'),
  },
} as const satisfies Omit<LossKind<RankNetSettings>, 'about' | 'make'>;

/** {@link lambdaLoss} in `train`. */
export const lambdaLossKind: LossKind<LambdaLossSettings> = {
  ...rankingKind,
  about: 'a cross-encoder: pairs of documents of a query in order, weighted by what their exchange costs',
  settings: {
    ...rankingKind.settings,
    weighting: {
      kind: 'choice',
      accepted: WEIGHTINGS,
      default: 'ndcg2++',
      help: 'how two documents are weighted',
    },
    mu: { kind: 'number', from: 0, default: 10, help: 'how much ndcg2 counts in ndcg2++' },
  },
  make: ({ k, ...settings }) => lambdaLoss({ ...settings, ...(k !== null && { k }) }),
};
