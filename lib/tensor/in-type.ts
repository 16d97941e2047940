import type { DType, Tensor } from './tensor.js';

/** A tensor in a type, itself where it has it. */
export function inType(tensor: Tensor, dtype: DType): Tensor {
  return tensor.dtype === dtype ? tensor : tensor.to({ dtype });
}
