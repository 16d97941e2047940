import { GradCacheError } from '../errors.js';
import { Tensor } from './tensor.js';
import type { TensorHandle } from '../addon/native.js';

/**
 * A parameter of a native model. Its gradient is a view of the buffer in which the model adds up all its gradients: it is
 * always there, can be written, and cannot be replaced, since the model writes into the buffer without asking the tensor.
 */
export class ModelParameter extends Tensor {
  /** The gradients of all parameters of the model. */
  readonly buffer: Tensor;

  constructor(handle: TensorHandle, buffer: Tensor) {
    super(handle);
    this.buffer = buffer;
  }

  override get grad(): Tensor | null {
    return super.grad;
  }

  /** @throws GradCacheError `INPUT` */
  override set grad(_: Tensor | null) {
    throw new GradCacheError(
      'INPUT',
      'The gradient of a native parameter is part of its model and cannot be replaced. optimizer.step() and ' +
        'optimizer.zeroGrad() set it to zero; tensor.grad.copyFrom(…) writes into it.',
    );
  }

  override get requiresGrad(): boolean {
    return super.requiresGrad;
  }

  /** @throws GradCacheError `INPUT` for false: the model computes all its gradients */
  override set requiresGrad(value: boolean) {
    if (value === false)
      throw new GradCacheError(
        'INPUT',
        'requiresGrad of a native parameter is true; to leave a parameter as it is, leave it out of the optimizer, or ' +
          'name it in the option frozen of TextEncoder.load.',
      );
    super.requiresGrad = value;
  }
}
