import { guarded, native } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import { isParameter } from '../tensor/parameter-list.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';

/** A caller's parameters as a list; the iterable may work only once. @throws GradCacheError `INPUT` */
export function parametersOf(taker: string, given: unknown): Parameter[] {
  const list = listOf(taker, given);
  list.forEach((item) => {
    requireParameter(taker, item);
  });
  return list as Parameter[];
}

/** The elements of an iterable. @throws GradCacheError `INPUT` if it is no iterable, or throws */
export function listOf(taker: string, given: unknown): unknown[] {
  return readGiven(`the parameters of ${taker}`, () => {
    if (typeof (given as Partial<Iterable<unknown>> | null | undefined)?.[Symbol.iterator] !== 'function')
      throw new GradCacheError('INPUT', `${taker} needs a list of parameters: gradcache.parameters().`);
    return [...(given as Iterable<unknown>)];
  });
}

function requireParameter(taker: string, given: unknown): void {
  if (isParameter(given)) return;
  throw new GradCacheError(
    'INPUT',
    `${taker} was given ${show(given)} as a parameter; { name, tensor, decay } is needed, as gradcache.parameters() gives it.`,
  );
}

/**
 * The fused kernel updates numel() consecutive elements, whatever the strides.
 *
 * @throws GradCacheError `INPUT` for a view with gaps
 */
export function requireDense(parameters: readonly Parameter[]): void {
  guarded(() => native().requireDense(namesOf(parameters), handlesOf(parameters)));
}

/**
 * Checks that gradients or state have the memory layout of their parameters. The fused kernel does not check: it would mix
 * up elements, or read beyond the memory.
 *
 * @param what the tensors' name in messages
 * @param beside one for each parameter; null: none
 * @throws GradCacheError `SHAPE`, `DTYPE`, `DEVICE` if a tensor was changed meanwhile; `INPUT` for other strides
 */
export function requireAlike(
  what: string,
  parameters: readonly Parameter[],
  beside: readonly (Tensor | null)[],
): void {
  const others = beside.map((tensor) => tensor?.handle ?? null);
  guarded(() => native().requireAlike(what, namesOf(parameters), handlesOf(parameters), others));
}

const namesOf = (parameters: readonly Parameter[]) => parameters.map(({ name }) => name);
const handlesOf = (parameters: readonly Parameter[]) => parameters.map(({ tensor }) => tensor.handle);
