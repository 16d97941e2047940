/*
 * The state of an optimizer as a checkpoint has it: `TENSOR.PARAMETER` for each tensor of each parameter updated so far.
 */
import { faultIn } from '../files/file-fault.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored, storedFault, toStored } from '../safetensors/stored-tensor.js';
import { call } from '../tensor/operators.js';
import { untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { DividedUpdate } from './divided-update.js';
import { byName, namesOf, type Slot, type SlotState, type StateTensors } from './slots.js';

/**
 * Copies a state to the host.
 *
 * @param divided has the share of this rank; all ranks call it then, and rank 0 gets the whole. Null: all is here
 */
export async function storeState<Name extends string>(
  slots: readonly Slot<Name>[],
  kinds: StateTensors<Name>,
  divided: DividedUpdate | null,
): Promise<Map<string, StoredTensor>> {
  if (divided !== null) {
    const tensors = slots.flatMap(({ key, tensor: parameter, state }) =>
      namesOf(kinds).map((name) => {
        const isShare = kinds[name] === 'like';
        return { name: `${name}.${key}`, parameter, own: state?.[name] ?? null, isShare };
      }),
    );
    return divided.stored(tensors);
  }
  const stored = new Map<string, StoredTensor>();
  for (const { key, state } of slots) {
    if (state === null) continue;
    for (const name of namesOf(kinds)) stored.set(`${name}.${key}`, await toStored(state[name]));
  }
  return stored;
}

/**
 * Makes the tensors of a stored state.
 *
 * @param divided keeps the share of this rank alone; null: all is kept
 * @param others names of what is read elsewhere
 * @returns the state of each slot, or null for one that has none
 * @throws GradCacheError `CHECKPOINT` when a tensor is missing, left over, or of another shape or element type;
 * `OUT_OF_MEMORY`, after which nothing is left
 */
export function readState<Name extends string>(
  stored: ReadonlyMap<string, StoredTensor>,
  slots: readonly Slot<Name>[],
  kinds: StateTensors<Name>,
  divided: DividedUpdate | null,
  others: readonly string[] = [],
): (SlotState<Name> | null)[] {
  const found = slots.map(({ key, tensor: parameter }) => {
    // A parameter that had never been updated has no stored state.
    if (!namesOf(kinds).some((name) => stored.has(`${name}.${key}`))) return null;
    return byName(kinds, (name) => {
      const like = kinds[name] === 'like' ? parameter : { shape: [], dtype: 'float32' };
      return requireStored(stored, `${name}.${key}`, like);
    });
  });
  refuseUnknown(stored, slots, kinds, others);
  const made: Tensor[] = [];
  try {
    return slots.map(({ tensor: parameter }, place) => {
      const state = found[place] ?? null;
      if (state === null || divided?.hasShareOf(parameter) === false) return null;
      return byName(kinds, (name) => {
        const tensor =
          kinds[name] === 'like'
            ? shareOf(divided, parameter, fromStoredLike(state[name], parameter))
            : fromStored(state[name], parameter.device);
        made.push(tensor);
        return tensor;
      });
    });
  } catch (error) {
    for (const tensor of made) tensor.dispose();
    throw error;
  }
}

function refuseUnknown<Name extends string>(
  stored: ReadonlyMap<string, StoredTensor>,
  slots: readonly Slot<Name>[],
  kinds: StateTensors<Name>,
  others: readonly string[],
): void {
  const own = slots.flatMap(({ key }) => namesOf(kinds).map((name) => `${name}.${key}`));
  const known = new Set([...own, ...others]);
  const unknown = [...stored.keys()].find((name) => !known.has(name));
  if (unknown !== undefined)
    throw faultIn('Optimizer state', `${unknown} belongs to no parameter of this optimizer`);
}

/** @param needed its shape, null: any, and its type @throws GradCacheError `CHECKPOINT` */
export function requireStored(
  stored: ReadonlyMap<string, StoredTensor>,
  name: string,
  { shape, dtype }: { readonly shape: readonly number[] | null; readonly dtype: string },
): StoredTensor {
  const tensor = stored.get(name);
  if (tensor === undefined) throw faultIn('Optimizer state', `${name} is missing`);
  const fault = storedFault(tensor);
  if (fault !== undefined) throw faultIn('Optimizer state', `${name} ${fault}`);
  const needed = shape ?? tensor.shape;
  if (tensor.shape.join() !== needed.join() || tensor.dtype !== dtype) {
    throw faultIn(
      'Optimizer state',
      `${name} is ${tensor.dtype} [${tensor.shape.join(', ')}], ` +
        `its parameter needs ${dtype} [${needed.join(', ')}]`,
    );
  }
  return tensor;
}

/** State has the memory layout of its parameter; stored tensors are row by row. */
function fromStoredLike(stored: StoredTensor, parameter: Tensor): Tensor {
  const rows = fromStored(stored, parameter.device);
  try {
    const tensor = untracked(() => call('aten::empty_like', parameter));
    tensor.copyFrom(rows);
    return tensor;
  } finally {
    rows.dispose();
  }
}

/** This rank's share of a state tensor, in place of the whole. */
function shareOf(divided: DividedUpdate | null, parameter: Tensor, whole: Tensor): Tensor {
  if (divided === null) return whole;
  const share = divided.viewOfShare(parameter, whole);
  try {
    return untracked(() => share.clone());
  } finally {
    share.dispose();
    whole.dispose();
  }
}
