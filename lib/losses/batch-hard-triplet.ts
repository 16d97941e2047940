import { checkKnown } from '../options/known-options.js';
import { requireOneOf } from '../options/option-values.js';
import {
  BATCH_DISTANCES,
  BATCH_TRIPLETS,
  batchTripletLoss,
  readTripletOptions,
  TRIPLET_SETTINGS,
  type BatchTripletOptions,
} from './batch-triplets.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';

/**
 * The triplet loss over the hardest triplet of each row (Hermans et al. 2017), the mean over rows:
 * `max(0, farthest D to its own class - nearest D to another + margin)`: BatchHardTripletLoss of sentence-transformers.
 * A row that is alone in its class has the distance 0 for the one. Where all rows are of one class, the farthest row takes the
 * place of the other. Memory is that of a tile of the N^2 distances.
 *
 * Towers: [N, d]. `step(inputs, { loss: { labels } })` gives the class of each row.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: batchHardTriplet({ margin: 0.3, distance: 'cosine' }) });
 * await gradcache.step([model.tokenize(texts)], { loss: { labels: [0, 1, 0, 1] } }); // the class of each text
 * ```
 */
export function batchHardTriplet(options: BatchTripletOptions = {}): LossWithGradients {
  return batchTripletLoss('batchHardTriplet', 'hard', readTripletOptions('batchHardTriplet', options));
}

/**
 * {@link batchHardTriplet} without a margin: `log(1 + exp(farthest D to its own class - nearest D to another))`:
 * BatchHardSoftMarginTripletLoss of sentence-transformers.
 *
 * Towers and labels are the same.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: batchHardSoftMarginTriplet() });
 * await gradcache.step([model.tokenize(texts)], { loss: { labels: [0, 1, 0, 1] } }); // the class of each text
 * ```
 */
export function batchHardSoftMarginTriplet(
  options: Pick<BatchTripletOptions, 'distance'> = {},
): LossWithGradients {
  checkKnown('batchHardSoftMarginTriplet', options, ['distance']);
  const { distance = 'euclidean' } = options;
  requireOneOf('distance', distance, BATCH_DISTANCES);
  return batchTripletLoss('batchHardSoftMarginTriplet', 'soft', { distance });
}

/** {@link batchHardTriplet} in `train`. */
export const batchHardTripletKind: LossKind<Required<BatchTripletOptions>> = {
  ...BATCH_TRIPLETS,
  about: 'rows of one class nearer to each other than to others, hardest triplets',
  settings: TRIPLET_SETTINGS,
  make: (settings) => batchHardTriplet(settings),
};

/** {@link batchHardSoftMarginTriplet} in `train`. */
export const batchHardSoftMarginTripletKind: LossKind<Required<Pick<BatchTripletOptions, 'distance'>>> = {
  ...BATCH_TRIPLETS,
  about: 'batch-hard-triplet with a soft margin',
  settings: { distance: TRIPLET_SETTINGS.distance },
  make: (settings) => batchHardSoftMarginTriplet(settings),
};
