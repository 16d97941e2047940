import { requireWhole } from '../distributed/divided-gradients.js';
import type { Ranks } from '../distributed/ranks.js';
import { onEach } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { callAsync } from '../tensor/operators.js';
import { requireNumber } from '../options/option-values.js';
import { ParameterSet, type WithGradients } from '../tensor/parameter-set.js';
import { forAlike, TensorList } from '../tensor/tensor-list.js';
import type { Parameter } from '../tensor/tensor.js';
import { parametersOf } from './parameters.js';

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
 * @example
 * ```ts
 * await gradcache.step(inputs);
 * const norm = await clipGradNorm(gradcache.parameters(), 1); // what it was before
 * await optimizer.step();
 * ```
 */
export async function clipGradNorm(parameters: Iterable<Parameter>, maxNorm: number): Promise<number> {
  requireNumber('maxGradNorm', maxNorm, { above: 0, infinite: true });
  const set = new ParameterSet(parametersOf('clipGradNorm', parameters));
  requireWhole('clipGradNorm', set.list);
  return set.withGradients((found) => clipGradients(found, maxNorm));
}

/**
 * {@link clipGradNorm} of gradients that the caller has at hand.
 *
 * @param ranks the ranks that have the rest of the gradients, and call this too
 */
export async function clipGradients(
  found: WithGradients,
  maxNorm: number,
  ranks: Ranks | null = null,
): Promise<number> {
  const ofRows = TensorList.of(found.tables.map(({ values }) => values));
  try {
    return await clipAll(found, [found.gradients, ofRows], maxNorm, ranks);
  } finally {
    ofRows.dispose();
  }
}

/** @param lists all gradients */
async function clipAll(
  found: WithGradients,
  lists: readonly TensorList[],
  maxNorm: number,
  ranks: Ranks | null,
): Promise<number> {
  const own = await onEach(ranks, CLIP, () => globalNorm(lists));
  const norms = ranks === null ? [own] : (await ranks.numbers([own])).map(([ofRank]) => ofRank!);
  const norm = norms.length === 1 ? own : Math.hypot(...norms);
  if (!Number.isFinite(norm)) {
    const faulty = norms.findIndex((ofRank) => !Number.isFinite(ofRank));
    await onEach(ranks, CLIP, async () => {
      // Of several ranks the one at fault can name the parameters.
      if (ranks === null || ranks.rank === Math.max(0, faulty)) throw await nonFinite(found, lists, norm);
    });
  }
  if (norm > maxNorm) {
    // The small constant is torch's own: it keeps the clipped norm at or below maxNorm after rounding.
    const factor = maxNorm / (norm + 1e-6);
    await onEach(ranks, CLIP, async () => {
      for (const list of lists)
        await forAlike(list, (alike) => callAsync('aten::_foreach_mul_.Scalar', alike, factor));
    });
  }
  return norm;
}

const CLIP = 'clipping gradients';

async function globalNorm(lists: readonly TensorList[]): Promise<number> {
  const norms: number[] = [];
  for (const list of lists)
    await forAlike(list, async (alike) => {
      norms.push(await alike.norm());
    });
  return norms.length === 1 ? (norms[0] as number) : Math.hypot(...norms);
}

async function nonFinite(
  { parameters, tables }: WithGradients,
  lists: readonly TensorList[],
  norm: number,
): Promise<GradCacheError> {
  const names: string[] = [];
  const owners = [parameters, tables.map(({ parameter }) => parameter)];
  for (const [list, gradients] of lists.entries())
    for (const [place, { name }] of owners[list]!.entries()) {
      const one = gradients.select(Int32Array.of(place));
      if (!Number.isFinite(await one.norm().finally(() => one.dispose()))) names.push(name);
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
