import { parameterName, type Architecture } from './architecture.js';

/*
 * Some checkpoints name modules otherwise than transformers does, or hold several in one matrix: transformers renames and splits what it
 * reads, and joins it again where it writes. PEFT names adapters by transformers' modules.
 */

/** The rows of a stored tensor that a module has. */
export interface RowsPart {
  readonly index: number;
  readonly of: number;
}

/** A tensor that can be cut. */
interface Rows {
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The names of a stored parameter in transformers, in the order of its rows. */
function moduleNames({ modules = [] }: Architecture, parameter: string): string[] {
  const found = modules.find(({ stored }) => stored.test(parameter));
  return found === undefined
    ? [parameter]
    : found.modules.map((module) => parameter.replace(found.stored, module));
}

/** Whether names, with or without a task model's prefix, are those of checkpoints where transformers has others. */
export const areStored = (architecture: Architecture, names: Iterable<string>): boolean =>
  [...names].some(
    (name) =>
      architecture.modules?.some(({ stored }) => stored.test(parameterName(architecture, name))) === true,
  );

/** A checkpoint's tensors, by the names of parameters, as the parameters of transformers' modules. */
export function asModules<T extends Rows>(
  architecture: Architecture,
  tensors: ReadonlyMap<string, T>,
): Map<string, T> {
  const modules = new Map<string, T>();
  for (const [name, tensor] of tensors) {
    const names = moduleNames(architecture, name);
    for (const [index, each] of names.entries())
      modules.set(each, names.length === 1 ? tensor : partOf(tensor, { index, of: names.length }));
  }
  return modules;
}

/** The rows of a part, as a view; the whole where its rows cannot be shared out. */
export function partOf<T extends Rows>(tensor: T, { index, of }: RowsPart): T {
  const [rows = 0, ...rest] = tensor.shape;
  const [count, length] = [rows / of, tensor.bytes.length / of];
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(length)) return tensor;
  return {
    ...tensor,
    shape: [count, ...rest],
    bytes: tensor.bytes.subarray(index * length, (index + 1) * length),
  };
}

/**
 * Where parameters of transformers' modules are in a checkpoint, by their names without the prefix of a task model.
 *
 * @param names those of the checkpoint's tensors
 */
export function placesOfModules(
  architecture: Architecture,
  names: Iterable<string>,
): Map<string, { readonly name: string; readonly part: RowsPart | null }> {
  const places = new Map<string, { readonly name: string; readonly part: RowsPart | null }>();
  for (const name of names) {
    const parameter = parameterName(architecture, name);
    const modules = moduleNames(architecture, parameter);
    for (const [index, module] of modules.entries())
      places.set(module, { name, part: modules.length === 1 ? null : { index, of: modules.length } });
    places.set(parameter, { name, part: null });
  }
  return places;
}
