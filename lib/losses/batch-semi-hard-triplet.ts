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
 * The triplet loss over semi-hard triplets (Schroff et al. 2015): for every two rows of a class the nearest negative that is
 * farther than the positive, or the farthest one if none is. `max(0, D(anchor, positive) - D(anchor, negative) + margin)`, the
 * mean over pairs of a class: BatchSemiHardTripletLoss of sentence-transformers. Memory is that of a tile of the N^2 distances.
 *
 * Towers: [N, d]. `step(inputs, { loss: { labels } })` gives the class of each row.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: batchSemiHardTriplet() });
 * await gradcache.step([model.tokenize(texts)], { loss: { labels: [0, 1, 0, 1] } }); // the class of each text
 * ```
 */
export function batchSemiHardTriplet(options: BatchTripletOptions = {}): LossWithGradients {
  return batchTripletLoss(
    'batchSemiHardTriplet',
    'semi-hard',
    readTripletOptions('batchSemiHardTriplet', options),
  );
}

/** {@link batchSemiHardTriplet} in `train`. */
export const batchSemiHardTripletKind: LossKind<Required<BatchTripletOptions>> = {
  ...BATCH_TRIPLETS,
  about: 'rows of one class nearer to each other than to others, semi-hard triplets',
  settings: TRIPLET_SETTINGS,
  make: (settings) => batchSemiHardTriplet(settings),
};
