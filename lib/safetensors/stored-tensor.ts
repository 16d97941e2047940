import { types } from 'node:util';
import { refused } from '../options/option-values.js';
import { untracked } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { byteLengthOf, storageOf } from './safetensors-format.js';
import type { StoredTensor } from './safetensors.js';

/** A copy of a tensor's elements on the host. @throws GradCacheError `OUT_OF_MEMORY` */
export async function toStored(tensor: Tensor): Promise<StoredTensor> {
  return { dtype: tensor.dtype, shape: tensor.shape, bytes: await tensor.bytes() };
}

/** A new tensor on a device, which outlives any {@link tidy} block. */
export function fromStored({ bytes, shape, dtype }: StoredTensor, device = 'cpu'): Tensor {
  return untracked(() => Tensor.fromBytes(bytes, { shape, dtype, device }));
}

/** What is wrong with a stored tensor that a caller may have put together, as the end of a sentence. Undefined: nothing. */
export function storedFault(tensor: unknown): string | undefined {
  const { dtype, shape, bytes } = (tensor ?? {}) as Partial<StoredTensor>;
  const isShape =
    Array.isArray(shape) && shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
  const storage = typeof dtype === 'string' ? storageOf(dtype) : undefined;
  if (!isShape || storage === undefined || !types.isUint8Array(bytes))
    return 'is no { dtype, shape, bytes }, with bytes in a Uint8Array';
  if (byteLengthOf(shape, storage.size) === bytes.byteLength) return undefined;
  return `has shape [${shape.join(', ')}], dtype ${dtype} and ${bytes.byteLength} bytes, which disagree`;
}

/**
 * Checks a state that is to be loaded, whose tensors a caller may have put together.
 *
 * @param damaged makes the error for a tensor that is none
 * @throws GradCacheError `INPUT` for what is no Map
 */
export function requireStoredTensors(
  name: string,
  stored: unknown,
  damaged: (what: string) => Error,
): asserts stored is ReadonlyMap<string, StoredTensor> {
  if (!types.isMap(stored)) throw refused(name, stored, 'the Map that state() gave');
  for (const [key, tensor] of stored as ReadonlyMap<unknown, unknown>) {
    const fault = typeof key === 'string' ? storedFault(tensor) : 'is no name';
    if (fault !== undefined) throw damaged(`${String(key)} ${fault}`);
  }
}
