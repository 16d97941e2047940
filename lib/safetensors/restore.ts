import { GradCacheError } from '../errors.js';
import { copyWeights } from './match-weights.js';
import type { StoredTensor } from './safetensors.js';
import type { Parameter } from '../tensor/tensor.js';

/** Gives parameters the values of a checkpoint. @throws GradCacheError `CHECKPOINT` if one is missing or of another shape */
export function restore(parameters: readonly Parameter[], stored: ReadonlyMap<string, StoredTensor>): void {
  for (const { name, tensor } of parameters) {
    const value = stored.get(name);
    if (value === undefined || value.shape.join() !== tensor.shape.join() || value.dtype !== tensor.dtype) {
      throw new GradCacheError(
        'CHECKPOINT',
        `The checkpoint does not fit the loss: its ${name} is missing or of another shape.`,
      );
    }
  }
  copyWeights(parameters, stored);
}
