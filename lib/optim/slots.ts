import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { listOf, parametersOf, requireDense } from './parameters.js';

/** Parameters that share settings. */
export interface ParameterGroup {
  /** The parameters of the group. */
  readonly parameters: Iterable<Parameter>;
  /** Multiplies the optimizer's learning rate for this group. Default 1. */
  readonly lrScale?: number;
  /** Replaces the optimizer's `weightDecay` for this group's parameters whose `decay` is true. */
  readonly weightDecay?: number;
}

/**
 * The state tensors of a parameter by their names in checkpoints. `'like'`: zeros of the parameter's shape and dtype.
 * `'count'`: the number of updates, a float32 scalar on the parameter's device.
 */
export type StateTensors<Name extends string> = Readonly<Record<Name, 'like' | 'count'>>;

/** The state of a parameter: one tensor for each name. */
export type SlotState<Name extends string> = Readonly<Record<Name, Tensor>>;

/** A parameter with its settings and its state. */
export interface Slot<Name extends string> extends Parameter {
  /** Its name in the stored state. Unlike `name`, it is unique. */
  readonly key: string;
  readonly lrScale: number;
  readonly weightDecay: number;
  /** The same number for slots with the same two settings. */
  readonly settings: number;
  /** Made at the first update of this parameter, on its device. */
  state: SlotState<Name> | null;
}

/** Whether the weights of a parameter are kept in bfloat16. */
export const isNarrow = ({ tensor }: Parameter): boolean => tensor.dtype === 'bfloat16';

/** The names of state tensors. */
export const namesOf = <Name extends string>(kinds: StateTensors<Name>): Name[] =>
  Object.keys(kinds) as Name[];

/** Something for each state tensor. */
export function byName<Name extends string, T>(
  kinds: StateTensors<Name>,
  make: (name: Name) => T,
): Record<Name, T> {
  return Object.fromEntries(namesOf(kinds).map((name) => [name, make(name)])) as Record<Name, T>;
}

/**
 * A slot for each parameter.
 *
 * @param taker the optimizer, for messages
 * @param given parameters, or groups of them
 * @param weightDecay the weight decay of groups that set none
 * @throws GradCacheError `INPUT` for a setting out of range, no parameters, or a parameter given twice
 */
export function slotsOf<Name extends string>(
  taker: string,
  given: Iterable<Parameter> | readonly ParameterGroup[],
  weightDecay: number,
): Slot<Name>[] {
  const slots: Slot<Name>[] = [];
  const seen = new Set<Tensor>();
  const names = new Map<string, number>();
  for (const group of groupsOf(taker, given)) {
    checkKnown(`a group of ${taker}`, group, ['parameters', 'lrScale', 'weightDecay']);
    const { lrScale = 1, weightDecay: groupDecay = weightDecay } = group;
    const parameters = parametersOf(`a group of ${taker}`, group.parameters);
    requireDense(parameters);
    requireNumber('lrScale of a group', lrScale, { from: 0 });
    requireNumber('weightDecay of a group', groupDecay, { from: 0 });
    for (const { name, tensor, decay } of parameters) {
      if (seen.has(tensor)) {
        throw new GradCacheError(
          'INPUT',
          `Parameter ${name} is given to ${taker} twice; it would be updated twice.`,
        );
      }
      seen.add(tensor);
      // Two untied towers of one architecture have the same names: the second becomes NAME#2.
      const count = (names.get(name) ?? 0) + 1;
      names.set(name, count);
      const key = count === 1 ? name : `${name}#${count}`;
      const own = { lrScale, weightDecay: decay ? groupDecay : 0 };
      const alike = slots.find(
        (slot) => slot.lrScale === own.lrScale && slot.weightDecay === own.weightDecay,
      );
      slots.push({
        name,
        tensor,
        decay,
        key,
        ...own,
        settings: alike?.settings ?? slots.length,
        state: null,
      });
    }
  }
  if (slots.length === 0) throw new GradCacheError('INPUT', `${taker} was given no parameters.`);
  return slots;
}

function groupsOf(taker: string, given: Iterable<Parameter> | readonly ParameterGroup[]): ParameterGroup[] {
  const list = listOf(taker, given) as (Parameter | ParameterGroup)[];
  const isGroup = (item: Parameter | ParameterGroup): item is ParameterGroup =>
    typeof item === 'object' && item !== null && 'parameters' in item;
  if (list.every(isGroup)) return list;
  if (list.some(isGroup)) {
    throw new GradCacheError(
      'INPUT',
      `${taker} takes either parameters or groups of parameters, not both in one list.`,
    );
  }
  return [{ parameters: list as Parameter[] }];
}
