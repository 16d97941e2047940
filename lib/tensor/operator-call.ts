/*
 * Operators by name, on native handles: what Tensor's methods and call() are made of.
 */
import { GradCacheError } from '../errors.js';
import {
  guarded,
  guardedAsync,
  native,
  type OperatorHandle,
  type TensorHandle,
  type TensorListHandle,
} from '../addon/native.js';
import { show } from '../options/option-values.js';
import { readGiven, readList } from '../options/read-given.js';
import { isPlainObject } from '../options/realms.js';
import { TensorList } from './tensor-list.js';
import { refuseUnchecked } from './unchecked-operators.js';

const handles = new Map<string, OperatorHandle>();

function operator(name: string): OperatorHandle {
  if (typeof name !== 'string')
    throw new GradCacheError('OPERATOR', `the name of an operator is ${show(name)}; a string is needed.`);
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
  if (!Array.isArray(value)) return handleIn(value) ?? value;
  if (depth === DEEPEST) throw new GradCacheError('OPERATOR', 'no operator takes lists so deep in lists');
  return readList('a list of arguments', value, MOST_ELEMENTS).map((element) => unwrap(element, depth + 1));
}

/** The native handle in a Tensor or a list of them. Tensor is not known here: its methods call operators. */
function handleIn(value: unknown): TensorHandle | TensorListHandle | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (value instanceof TensorList) return value.handle;
  const { handle } = value as { handle?: unknown };
  return native().isTensor(handle) ? handle : undefined;
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

/** Calls an operator as {@link call} does. The tensors of the result are native handles. */
export function callOperator(name: string, args: readonly unknown[]): unknown {
  const handle = operator(name);
  const [positional, keywords] = split(args);
  refuseUnchecked(name, positional, keywords);
  return guarded(() => handle.call(positional, keywords));
}

/** Like {@link callOperator}, off the event loop and without a graph. */
export async function callOperatorAsync(name: string, args: readonly unknown[]): Promise<unknown> {
  const handle = operator(name);
  const [positional, keywords] = split(args);
  refuseUnchecked(name, positional, keywords);
  return guardedAsync(() => handle.callAsync(positional, keywords));
}

/**
 * The schema of an operator, as libtorch writes it.
 *
 * @throws GradCacheError `OPERATOR`
 * @example
 * ```ts
 * console.log(schema('aten::topk')); // what the operator takes and gives
 * ```
 */
export function schema(name: string): string {
  return guarded(() => operator(name).schema);
}
