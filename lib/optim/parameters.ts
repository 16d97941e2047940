import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import { call } from '../tensor/operators.js';
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

/** How a tensor lies in memory: what the fused kernel takes for granted. */
export interface Layout {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly dtype: string;
  readonly device: string;
}

export function layoutOf(tensor: Tensor): Layout {
  const { shape, dtype, device } = tensor;
  // Each stride is a call. None tells anything about a dimension of one entry.
  const strides = shape.map((extent, dimension) =>
    extent === 1 ? 1 : call<number>('aten::stride.int', tensor, dimension),
  );
  return { shape, strides, dtype, device };
}

/** The fused kernel goes through memory from a parameter's first element on, as many as it has. */
export function checkDense({ name, tensor }: Parameter): Layout {
  const layout = layoutOf(tensor);
  const { shape, strides } = layout;
  let expected = 1;
  for (const [stride, extent] of strides
    .map((stride, dimension) => [stride, shape[dimension]!] as const)
    .filter(([, extent]) => extent !== 1)
    .sort(([a], [b]) => a - b)) {
    if (stride !== expected) {
      throw new GradCacheError(
        'INPUT',
        `Parameter ${name} is a view with strides [${strides.join()}] of another tensor, whose other elements an update would ` +
          'reach as well. Train the whole tensor, or a contiguous copy (tensor.contiguous()) as a leaf of its own.',
      );
    }
    expected *= extent;
  }
  return layout;
}

/**
 * Looks whether what the fused kernel reads beside a parameter lies in memory as the parameter does. The kernel asks
 * nobody: it would mix up elements, or read what is not there.
 *
 * @param beside layouts by what they are of, for the message
 * @throws GradCacheError `SHAPE`, `DTYPE`, `DEVICE` for what was changed behind the optimizer's back; `INPUT` for other strides
 */
export function requireAlike(parameter: Parameter, beside: Readonly<Record<string, Layout>>): void {
  const { name } = parameter;
  const wanted = checkDense(parameter);
  for (const [what, found] of Object.entries(beside)) {
    if (found.shape.join() !== wanted.shape.join())
      throw new GradCacheError(
        'SHAPE',
        `The ${what} of ${name} has shape [${found.shape.join(', ')}], its parameter [${wanted.shape.join(', ')}]: was one of ` +
          'them resized?',
      );
    if (found.dtype !== wanted.dtype)
      throw new GradCacheError(
        'DTYPE',
        `The ${what} of ${name} is ${found.dtype}, its parameter ${wanted.dtype}.`,
      );
    if (found.device !== wanted.device)
      throw new GradCacheError(
        'DEVICE',
        `The ${what} of ${name} is on ${found.device}, its parameter on ${wanted.device}.`,
      );
    if (found.strides.some((stride, k) => stride !== wanted.strides[k] && found.shape[k]! > 1))
      throw new GradCacheError(
        'INPUT',
        `The ${what} of ${name} has strides [${found.strides.join(', ')}], its parameter [${wanted.strides.join(', ')}]: set ` +
          'one that lies in memory as its parameter does (tensor.grad.contiguous()).',
      );
  }
}
