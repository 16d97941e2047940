import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  asNumbers,
  BATCH_TRIPLETS,
  batchTripletLoss,
  masked,
  readTripletOptions,
  TRIPLET_SETTINGS,
  type BatchTripletOptions,
  type DistanceTile,
} from './batch-triplets.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import type { Terms } from './loss-of-tiles.js';

/**
 * The triplet loss over semi-hard triplets (Schroff et al. 2015): for every two rows of a class the nearest negative that is
 * farther than the positive, or the farthest one if none is. `max(0, D(anchor, positive) - D(anchor, negative) + margin)`, the
 * mean over pairs of a class: BatchSemiHardTripletLoss of sentence-transformers. Memory is that of a tile of the N^2 distances.
 *
 * Towers: [N, d]. `step(inputs, { loss: { labels } })` gives the class of each row.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function batchSemiHardTriplet(options: BatchTripletOptions = {}): LossWithGradients {
  const { distance, margin } = readTripletOptions('batchSemiHardTriplet', options);
  return batchTripletLoss('batchSemiHardTriplet', distance, (tile) => semiHard(tile, margin));
}

function semiHard({ distances, same, positive }: DistanceTile, margin: number): Terms {
  const [negatives] = call<[Tensor, Tensor]>('aten::sort', masked(distances, same, Infinity), 1);
  const places: Tensor = call('aten::searchsorted.Tensor', negatives.detach(), distances.detach(), {
    right: true,
  });
  const last = distances.shape[1]! - 1;
  const farther: Tensor = call('aten::gather', negatives, 1, call('aten::clamp_max', places, last));
  const none: Tensor = call('aten::isinf', farther);
  // Distances from the anchor's least, so that those of its own class, as 0, are never above a negative's.
  const [least] = call<[Tensor, Tensor]>('aten::min.dim', distances, 1, true);
  const [above] = call<[Tensor, Tensor]>('aten::max.dim', masked(distances.sub(least), same, 0), 1, true);
  const negative: Tensor = call('aten::where.self', none, above.add(least), masked(farther, none, 0));
  const terms = distances.sub(negative).add(margin).relu().mul(asNumbers(positive));
  return { sum: terms.sum(), count: asNumbers(positive).sum() };
}

/** {@link batchSemiHardTriplet} in `train`. */
export const batchSemiHardTripletKind: LossKind<Required<BatchTripletOptions>> = {
  ...BATCH_TRIPLETS,
  about: 'rows of one class nearer to each other than to others, semi-hard triplets',
  settings: TRIPLET_SETTINGS,
  make: (settings) => batchSemiHardTriplet(settings),
};
