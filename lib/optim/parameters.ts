import { guarded, native } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import { isParameter } from '../tensor/parameter-list.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';

/** The parameters that a caller gives, which may be an iterable that can be gone through once. @throws GradCacheError `INPUT` */
export function parametersOf(taker: string, given: unknown): Parameter[] {
  const list = listOf(taker, given);
  list.forEach((item) => {
    requireParameter(taker, item);
  });
  return list as Parameter[];
}

/** The elements of an iterable. @throws GradCacheError `INPUT` for none, or one that throws */
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
 * The fused kernel goes through memory from a parameter's first element on, as many as it has.
 *
 * @throws GradCacheError `INPUT` for a view with gaps
 */
export function requireDense(parameters: readonly Parameter[]): void {
  guarded(() => native().requireDense(namesOf(parameters), handlesOf(parameters)));
}

/**
 * Looks whether what the fused kernel reads beside parameters lies in memory as they do. The kernel asks nobody: it would
 * mix up elements, or read what is not there.
 *
 * @param what what lies beside them, for the message
 * @param beside one for each parameter; null: none
 * @throws GradCacheError `SHAPE`, `DTYPE`, `DEVICE` for what was changed behind the optimizer's back; `INPUT` for other strides
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
