import { GradCacheError } from '../errors.js';
import { guarded, guardedAsync, native, type OperatorHandle, type TensorHandle } from '../addon/native.js';
import { readGiven, readList } from '../options/read-given.js';
import { isPlainObject } from '../options/realms.js';
import { Tensor } from './tensor.js';
import { refuseUnchecked } from './unchecked-operators.js';

const handles = new Map<string, OperatorHandle>();

function operator(name: string): OperatorHandle {
  if (typeof name !== 'string')
    throw new GradCacheError('OPERATOR', `an operator's name must be a string, got ${typeof name}`);
  let handle = handles.get(name);
  if (handle === undefined) {
    const match = /^(\w+::\w+)(?:\.(\w+))?$/.exec(name);
    if (match === null) {
      throw new GradCacheError(
        'OPERATOR',
        `'${name}' is no operator name; write 'aten::mm' or 'aten::add.Tensor'`,
      );
    }
    handle = guarded(() => new (native().OperatorHandle)(match[1] ?? '', match[2] ?? ''));
    handles.set(name, handle);
  }
  return handle;
}

/** No schema has lists of lists of lists; a list in JavaScript may hold itself. */
const DEEPEST = 3;
const MOST_ELEMENTS = 2 ** 20;

function unwrap(value: unknown, depth = 0): unknown {
  if (value instanceof Tensor) return value.handle;
  if (!Array.isArray(value)) return value;
  if (depth === DEEPEST) throw new GradCacheError('OPERATOR', 'no operator takes lists so deep in lists');
  return readList('a list of arguments', value, MOST_ELEMENTS).map((element) => unwrap(element, depth + 1));
}

function wrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wrap);
  return typeof value === 'object' && value !== null ? new Tensor(value as TensorHandle) : value;
}

/** Positional arguments, and those by keyword. */
function split(args: readonly unknown[]): [unknown[], Record<string, unknown>] {
  return readGiven('the arguments', () => {
    const last = args.at(-1);
    const keywords = isPlainObject(last) ? last : {};
    const positional = isPlainObject(last) ? args.slice(0, -1) : args;
    return [
      positional.map((value) => unwrap(value)),
      Object.fromEntries(Object.entries(keywords).map(([name, value]) => [name, unwrap(value)])),
    ];
  });
}

/**
 * Calls any of libtorch's operators by name, with autograd.
 *
 * Arguments follow the operator's schema: tensors, numbers, booleans, lists of them, names of element types
 * (`'float32'`), devices and memory formats; null where the schema has an optional; a plain object at the end gives
 * arguments by keyword. A number without a fraction counts as an integer, as 1 does in Python (JavaScript does not tell 1.0
 * from it); integers beyond 2^53 are bigints, here and in results. The result is what the schema says: a {@link Tensor}
 * mostly, else a number, a list, or undefined; give the type parameter where it is not a tensor.
 *
 * ```ts
 * const product = call('aten::mm', a, b);
 * const [values, indices] = call<[Tensor, Tensor]>('aten::topk', scores, 10, { largest: true });
 * ```
 *
 * Operators with an underscore before their name, and halves of a backward, are libtorch's own: most of them trust their
 * caller, and wrong arguments may end the process. The few public ones that do are refused.
 *
 * @param name `namespace::operator` or `namespace::operator.overload`
 * @throws GradCacheError `OPERATOR` (no such operator, wrong arguments, shapes that do not fit), `INPUT` (an argument that
 * cannot be read), `DTYPE`, `DEVICE`, `DISPOSED`, `OUT_OF_MEMORY`
 */
export function call<Result = Tensor>(name: string, ...args: readonly unknown[]): Result {
  const handle = operator(name);
  const [positional, keywords] = split(args);
  refuseUnchecked(name, positional, keywords);
  return wrap(guarded(() => handle.call(positional, keywords))) as Result;
}

/** Like {@link call}, off the event loop (on the engine thread) and without a graph. */
export async function callAsync<Result = Tensor>(name: string, ...args: readonly unknown[]): Promise<Result> {
  const handle = operator(name);
  const [positional, keywords] = split(args);
  refuseUnchecked(name, positional, keywords);
  return wrap(await guardedAsync(() => handle.callAsync(positional, keywords))) as Result;
}

/** The schema of an operator, as libtorch writes it. @throws GradCacheError `OPERATOR` */
export function schema(name: string): string {
  return guarded(() => operator(name).schema);
}
