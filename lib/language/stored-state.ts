import { faultIn } from '../files/file-fault.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { requireStoredTensors } from '../safetensors/stored-tensor.js';

/** What the state is called in messages. */
export const STATE = 'State across segments';

/** @throws GradCacheError `INPUT` for what is no Map, `CHECKPOINT` for what is no tensor in it */
export function requireStoredState(name: string, stored: unknown): void {
  requireStoredTensors(name, stored, (what) => faultIn(STATE, what));
}

/** The tensors whose names begin so, without that beginning. */
export function partOf(stored: ReadonlyMap<string, StoredTensor>, prefix: string): Map<string, StoredTensor> {
  const part = [...stored].filter(([name]) => name.startsWith(prefix));
  return new Map(part.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}

/** A stored tensor. @throws GradCacheError `CHECKPOINT` where it is missing, or of another shape or type */
export function sameAs(
  stored: ReadonlyMap<string, StoredTensor>,
  name: string,
  { shape, dtype }: { readonly shape: readonly number[]; readonly dtype: string },
): StoredTensor {
  const tensor = stored.get(name);
  if (tensor === undefined) throw faultIn(STATE, `${name} is missing`);
  if (tensor.shape.join() !== shape.join() || tensor.dtype !== dtype)
    throw faultIn(
      STATE,
      `${name} is ${tensor.dtype} [${tensor.shape.join(', ')}]; ${dtype} [${shape.join(', ')}] is needed`,
    );
  return tensor;
}

/** @throws GradCacheError `CHECKPOINT` for names that are left over */
export function requireNothingElse(names: readonly string[]): void {
  if (names.length > 0) throw faultIn(STATE, `${names[0]} belongs to nothing here`);
}

/** Numbers as a stored tensor. */
export function storedNumbers(numbers: readonly number[]): StoredTensor {
  const bytes = new Uint8Array(Float64Array.from(numbers).buffer);
  return { dtype: 'float64', shape: [numbers.length], bytes };
}

/** Counts that {@link storedNumbers} stored. @throws GradCacheError `CHECKPOINT` */
export function countsIn(stored: ReadonlyMap<string, StoredTensor>, name: string, many: number): number[] {
  const counts = numbersIn(sameAs(stored, name, { dtype: 'float64', shape: [many] }));
  if (counts.every((count) => Number.isSafeInteger(count) && count >= 0)) return counts;
  throw faultIn(STATE, `${name} is [${counts.join(', ')}]; whole numbers from 0 are needed`);
}

/** The numbers of a tensor that {@link storedNumbers} gave. */
export function numbersIn({ bytes }: StoredTensor): number[] {
  return [...new Float64Array(Uint8Array.from(bytes).buffer)];
}
