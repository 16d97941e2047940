import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { call } from '../tensor/operators.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import {
  requireCheckable,
  withGradients,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';
import { targetsOf } from './targets.js';

/** The mean over anchors of the cross-entropy of their candidates: what {@link distanceHead} makes of distances by default. */
export class DistanceCrossEntropy implements LossWithGradients {
  parameters(): Parameter[] {
    return [];
  }

  /** @param lengths how many candidates there are */
  checkOptions(
    options: LossOptions,
    rows: readonly number[],
    lengths: readonly (number | undefined)[] = [],
  ): void {
    requireCheckable(options, rows);
    candidatesOf(options, rows[0]!, lengths[0] ?? Infinity);
  }

  compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
  ): Promise<LossGradients> {
    const loss = (distances: Tensor): Tensor => {
      const targets = candidatesOf(options, ...(distances.shape as [number, number]));
      return call(
        'aten::cross_entropy_loss',
        distances,
        Tensor.from(targets, { dtype: 'int64', device: distances.device }),
      );
    };
    return withGradients<[Tensor]>(loss).compute(representations, weight, {}, trained);
  }
}

/** The candidate of each anchor. @throws GradCacheError `INPUT`, `SHAPE` */
function candidatesOf(options: LossOptions, anchors: number, candidates: number): number[] {
  checkKnown('the loss of distanceHead', options, ['targets']);
  const targets = targetsOf(options, anchors) ?? Array.from({ length: anchors }, (_, row) => row);
  const outside = targets.find((target) => !(target >= 0 && target < candidates));
  if (outside !== undefined)
    throw new GradCacheError('SHAPE', `target ${outside} is not one of the ${candidates} candidates`);
  return targets;
}
