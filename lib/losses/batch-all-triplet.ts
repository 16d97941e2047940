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
 * The triplet loss over all triplets of a batch, the mean over those that are not 0:
 * `max(0, D(anchor, positive) - D(anchor, negative) + margin)` for every two rows of a class and every row of another:
 * BatchAllTripletLoss of sentence-transformers. N rows take N^2 log N time, and memory for a tile of N^2 distances.
 *
 * Towers: [N, d]. `step(inputs, { loss: { labels } })` gives the class of each row.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function batchAllTriplet(options: BatchTripletOptions = {}): LossWithGradients {
  const { distance, margin } = readTripletOptions('batchAllTriplet', options);
  return batchTripletLoss('batchAllTriplet', distance, (tile) => allTriplets(tile, margin));
}

/**
 * With an anchor's negatives in the order of their distance, those that a positive at distance D makes a term with come
 * first: all below D + margin. Their terms are `count * (D + margin) - the sum of their distances`, a running sum.
 */
function allTriplets({ distances, same, positive }: DistanceTile, margin: number): Terms {
  const [negatives] = call<[Tensor, Tensor]>('aten::sort', masked(distances, same, Infinity), 1);
  const reach = distances.add(margin);
  const counts: Tensor = call('aten::searchsorted.Tensor', negatives.detach(), reach.detach());
  const none: Tensor = call('aten::isinf', negatives);
  const sums: Tensor = call('aten::cumsum', masked(negatives, none, 0), 1);
  const zero: Tensor = call('aten::new_zeros', sums, [sums.shape[0]!, 1]);
  const before: Tensor = call('aten::gather', call('aten::cat', [zero, sums], 1), 1, counts);
  const terms = asNumbers(counts).mul(reach).sub(before).mul(asNumbers(positive));
  return { sum: terms.sum(), count: asNumbers(counts).mul(asNumbers(positive)).sum() };
}

/** {@link batchAllTriplet} in `train`. */
export const batchAllTripletKind: LossKind<Required<BatchTripletOptions>> = {
  ...BATCH_TRIPLETS,
  about: 'rows of one class nearer to each other than to others, all triplets',
  settings: TRIPLET_SETTINGS,
  make: (settings) => batchAllTriplet(settings),
};
