import { GradCacheError } from '../errors.js';
import { Tensor } from './tensor.js';

/** A parameter of a native model, which computes all its gradients. */
export class NativeParameter extends Tensor {
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
