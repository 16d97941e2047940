import { GradCacheError } from '../errors.js';

/** Parameters of text encoders, which read and write their gradients without asking the tensors. */
const parameters = new WeakSet<object>();

/** Notes a parameter whose gradient is part of an encoder. */
export function belongsToEncoder<Tensor extends object>(tensor: Tensor): Tensor {
  parameters.add(tensor);
  return tensor;
}

/** @throws GradCacheError `INPUT` for a parameter of an encoder, which would go on writing into its own gradient */
export function refuseToReplaceGradient(tensor: object): void {
  if (!parameters.has(tensor)) return;
  throw new GradCacheError(
    'INPUT',
    "The gradient of an encoder's parameter is part of the encoder and cannot be replaced. optimizer.step() and " +
      'optimizer.zeroGrad() set it to zero; tensor.grad.copyFrom(…) writes into it.',
  );
}

/** @throws GradCacheError `INPUT` for a parameter of an encoder, which computes all its gradients */
export function refuseToFreeze(tensor: object): void {
  if (!parameters.has(tensor)) return;
  throw new GradCacheError(
    'INPUT',
    "requiresGrad of an encoder's parameter is true; to leave a parameter as it is, leave it out of the optimizer, or " +
      'name it in the option frozen of TextEncoder.load.',
  );
}
