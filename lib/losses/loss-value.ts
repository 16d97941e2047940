import { ParameterSet } from '../tensor/parameter-set.js';
import type { Tensor } from '../tensor/tensor.js';
import type { LossOptions, LossWithGradients } from './loss.js';

/**
 * The value of a loss, and nothing else: gradients, and what the loss keeps from step to step, stay as they were.
 *
 * @param representations one tensor per tower, without a graph
 */
export async function valueOf(
  loss: LossWithGradients,
  representations: readonly Tensor[],
  options: LossOptions,
): Promise<number> {
  if (loss.value !== undefined) return loss.value(representations, options);
  return valueByCompute(loss, representations, options);
}

/** The same by `compute`, whose gradients of representations are thrown away. @param trained that of `compute` */
export async function valueByCompute(
  loss: LossWithGradients,
  representations: readonly Tensor[],
  options: LossOptions,
  trained?: readonly boolean[],
): Promise<number> {
  const before = await new ParameterSet(loss.parameters()).snapshot();
  try {
    const { loss: value, gradients, undo } = await loss.compute(representations, 1, options, trained);
    for (const gradient of gradients) gradient?.dispose();
    undo?.restore();
    undo?.dispose();
    return value;
  } finally {
    before.restore();
    before.dispose();
  }
}
