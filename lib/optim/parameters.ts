import { guarded, native } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import { isParameter } from '../tensor/parameter-list.js';
import { TensorList } from '../tensor/tensor-list.js';
import type { Parameter } from '../tensor/tensor.js';

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
  const tensors = TensorList.of(parameters.map(({ tensor }) => tensor));
  try {
    guarded(() => native().requireDense(namesOf(parameters), tensors.handle));
  } finally {
    tensors.dispose();
  }
}

/**
 * Checks that gradients or state have the memory layout of their parameters. The fused kernel does not check: it would mix
 * up elements, or read beyond the memory.
 *
 * @param what the tensors' name in messages
 * @param beside one for each parameter
 * @param wider whether float32 may be beside a parameter of bfloat16
 * @throws GradCacheError `SHAPE`, `DTYPE`, `DEVICE` if a tensor was changed meanwhile; `INPUT` for other strides
 */
export function requireAlike(
  what: string,
  parameters: readonly Parameter[],
  tensors: TensorList,
  beside: TensorList,
  wider = false,
): void {
  guarded(() => native().requireAlike(what, namesOf(parameters), tensors.handle, beside.handle, wider));
}

const namesOf = (parameters: readonly Parameter[]) => parameters.map(({ name }) => name);
