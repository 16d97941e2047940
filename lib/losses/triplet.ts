import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireOneOf } from '../options/option-values.js';
import type { Tensor } from '../tensor/tensor.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { DISTANCES, length, pairScores, type Distance } from './pair-scores.js';
import { tensorLoss } from './tensor-loss.js';

/** Settings of {@link triplet}. */
export interface TripletOptions {
  /** Default: euclidean. Cosine is 1 minus the cosine. */
  readonly distance?: Distance;
  /** How much nearer the positive is to be. Default 5. */
  readonly margin?: number;
}

const COLUMNS = {
  least: 3,
  most: 3,
  needed: 'three different columns: anchor, positive, negative',
  usual: ['anchor', 'positive', 'negative'],
};

/**
 * The triplet loss: `max(0, D(anchor, positive) - D(anchor, negative) + margin)`, the mean over triplets, where D is a
 * distance: TripletLoss of sentence-transformers.
 *
 * Towers: anchors, positives and negatives, [N, d] each.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model, model], loss: triplet({ margin: 0.3, distance: 'cosine' }) });
 * await gradcache.step([anchors, positives, negatives].map((texts) => model.tokenize(texts)));
 * ```
 */
export function triplet(options: TripletOptions = {}): LossWithGradients {
  checkKnown('triplet', options, ['distance', 'margin']);
  const { distance = 'euclidean', margin = 5 } = options;
  requireOneOf('distance', distance, DISTANCES);
  requireNumber('margin', margin);
  const apart = (first: Tensor, second: Tensor): Tensor =>
    distance === 'cosine'
      ? pairScores('cosine', first, second).neg().add(1)
      : length(first.sub(second), distance);
  return tensorLoss({
    name: 'triplet',
    sparse: 'columns',
    towers: COLUMNS,
    sharing: 'rows',
    loss: ([anchor, positive, negative]) =>
      apart(anchor!, positive!).sub(apart(anchor!, negative!)).add(margin).relu().mean(),
  });
}

/** {@link triplet} in `train`. */
export const tripletKind: LossKind<Required<TripletOptions>> = {
  about: 'the positive nearer to the anchor than its negative, by a margin',
  columns: COLUMNS,
  comparesRows: false,
  settings: {
    distance: {
      kind: 'choice',
      accepted: DISTANCES,
      default: 'euclidean',
      help: 'euclidean (default), cosine or manhattan',
    },
    margin: { kind: 'number', default: 5, help: 'how much nearer; default 5' },
  },
  make: (settings) => triplet(settings),
  similarity: ({ distance }) => distance,
};
