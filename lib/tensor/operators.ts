import { callOperator, callOperatorAsync } from './operator-call.js';
import { wrap, type Tensor } from './tensor.js';

export { schema } from './operator-call.js';

/**
 * Calls any of libtorch's operators by name, with autograd.
 *
 * Arguments follow the operator's schema: tensors, numbers, booleans, lists of them, names of element types
 * (`'float32'`), devices and memory formats; null where the schema has an optional; a plain object at the end gives
 * arguments by keyword. A number without a fraction counts as an integer, since JavaScript does not tell 1.0 from 1. Integers
 * beyond 2^53 are bigints, also in results. The schema decides the result: mostly a {@link Tensor}, else a number, a list, or
 * undefined; give the type parameter if it is not a tensor.
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
  return wrap(callOperator(name, args)) as Result;
}

/**
 * Like {@link call}, without a graph and off the event loop: on its tensors' device, after that device's earlier work.
 *
 * @example
 * ```ts
 * const sorted = await callAsync<[Tensor, Tensor]>('aten::sort', scores, 0, true);
 * ```
 */
export async function callAsync<Result = Tensor>(name: string, ...args: readonly unknown[]): Promise<Result> {
  return wrap(await callOperatorAsync(name, args)) as Result;
}
