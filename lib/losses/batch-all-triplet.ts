import {
  BATCH_TRIPLETS,
  batchTripletLoss,
  readTripletOptions,
  TRIPLET_SETTINGS,
  type BatchTripletOptions,
} from './batch-triplets.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';

/**
 * The triplet loss over all triplets of a batch, the mean over those that are not 0:
 * `max(0, D(anchor, positive) - D(anchor, negative) + margin)` for every two rows of a class and every row of another:
 * BatchAllTripletLoss of sentence-transformers. N rows with P positives each take N^2 log P time, and memory for a tile of N^2 distances.
 *
 * Towers: [N, d]. `step(inputs, { loss: { labels } })` gives the class of each row.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: batchAllTriplet() });
 * await gradcache.step([model.tokenize(texts)], { loss: { labels: [0, 1, 0, 1] } }); // the class of each text
 * ```
 */
export function batchAllTriplet(options: BatchTripletOptions = {}): LossWithGradients {
  return batchTripletLoss('batchAllTriplet', 'all', readTripletOptions('batchAllTriplet', options));
}

/** {@link batchAllTriplet} in `train`. */
export const batchAllTripletKind: LossKind<Required<BatchTripletOptions>> = {
  ...BATCH_TRIPLETS,
  about: 'rows of one class nearer to each other than to others, all triplets',
  settings: TRIPLET_SETTINGS,
  make: (settings) => batchAllTriplet(settings),
};
