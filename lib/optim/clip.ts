import { GradCacheError } from '../errors.js';
import { callAsync } from '../tensor/operators.js';
import { requireNumber } from '../options/option-values.js';
import { ParameterSet } from '../tensor/parameter-set.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { groupBy } from './group-by.js';
import { parametersOf } from './parameters.js';

/** A parameter's gradient, under a handle of its own. */
interface FoundGradient {
  readonly parameter: Parameter;
  readonly gradient: Tensor;
}

/**
 * Scales all gradients by one factor so that their global 2-norm is at most `maxNorm`, in place and off the event loop.
 *
 * The host reads one number per device and element type, however many parameters there are. Parameters without a gradient
 * count as zero.
 *
 * @param parameters their `tensor.grad` is clipped
 * @param maxNorm the largest norm allowed, above zero; `Infinity` only measures
 * @returns the norm before clipping
 * @throws GradCacheError `INPUT` for a `maxNorm` that is not above zero; `NON_FINITE` if the norm is NaN or infinite. The
 * message names the parameters, and the gradients are unchanged.
 */
export async function clipGradNorm(parameters: Iterable<Parameter>, maxNorm: number): Promise<number> {
  requireNumber('maxGradNorm', maxNorm, { above: 0, infinite: true });
  const found = new ParameterSet(parametersOf('clipGradNorm', parameters)).gradients();
  try {
    return await clipGradients(found, maxNorm);
  } finally {
    for (const { gradient } of found) gradient.dispose();
  }
}

/** {@link clipGradNorm} of gradients that the caller has at hand. */
export async function clipGradients(found: readonly FoundGradient[], maxNorm: number): Promise<number> {
  const gradients = found.map(({ gradient }) => gradient);
  const norm = await globalNorm(gradients);
  if (!Number.isFinite(norm)) throw await nonFinite(found, norm);
  if (norm > maxNorm) {
    // The small constant is torch's own: it keeps the clipped norm at or below maxNorm after rounding.
    const factor = maxNorm / (norm + 1e-6);
    for (const alike of groupAlike(gradients)) await callAsync('aten::_foreach_mul_.Scalar', alike, factor);
  }
  return norm;
}

/** Groups tensors by device and element type: operators on lists are fast for such groups. */
export function groupAlike(tensors: readonly Tensor[]): Tensor[][] {
  return groupBy(tensors, ({ device, dtype }) => `${device} ${dtype}`);
}

async function globalNorm(tensors: readonly Tensor[]): Promise<number> {
  const norms: number[] = [];
  for (const alike of groupAlike(tensors)) {
    const each = await callAsync<Tensor[]>('aten::_foreach_norm.Scalar', alike, 2);
    const stacked = await callAsync('aten::stack', each);
    const norm = await callAsync('aten::linalg_vector_norm', stacked, 2);
    norms.push(Number((await norm.values())[0])); // off the event loop, unlike item()
    for (const tensor of [...each, stacked, norm]) tensor.dispose();
  }
  return norms.length === 1 ? (norms[0] as number) : Math.hypot(...norms);
}

async function nonFinite(found: readonly FoundGradient[], norm: number): Promise<GradCacheError> {
  const names: string[] = [];
  for (const { parameter, gradient } of found) {
    if (!Number.isFinite(await globalNorm([gradient]))) names.push(parameter.name);
  }
  const rest = names.length > 3 ? ` and ${names.length - 3} more` : '';
  const where =
    names.length === 0 ? 'their sum overflows' : `at fault: ${names.slice(0, 3).join(', ')}${rest}`;
  return new GradCacheError(
    'NON_FINITE',
    `The norm of the gradients is ${norm} (${where}); the parameters were not changed. ` +
      'Lower the learning rate, raise the temperature, or look for a text that gives a non-finite representation.',
  );
}
