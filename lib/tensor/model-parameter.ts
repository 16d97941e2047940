import { GradCacheError } from '../errors.js';
import { NativeParameter } from './native-parameter.js';
import type { Tensor } from './tensor.js';
import type { TensorHandle } from '../addon/native.js';

/**
 * A parameter of a native model. Its gradient is a view of the buffer in which the model adds up all its gradients: it is
 * always there, can be written, and cannot be replaced, since the model writes into the buffer without asking the tensor.
 */
export class ModelParameter extends NativeParameter {
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
}
