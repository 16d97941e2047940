import { untracked } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { StoredTensor } from './safetensors.js';

/** A copy of a tensor's elements on the host. @throws GradCacheError `OUT_OF_MEMORY` */
export async function toStored(tensor: Tensor): Promise<StoredTensor> {
  return { dtype: tensor.dtype, shape: tensor.shape, bytes: await tensor.bytes() };
}

/** A new tensor on a device, which outlives any {@link tidy} block. */
export function fromStored({ bytes, shape, dtype }: StoredTensor, device = 'cpu'): Tensor {
  return untracked(() => Tensor.fromBytes(bytes, { shape, dtype, device }));
}
