import { requireNumber } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Representations [n, dimension] of pictures or captions, so many at a time.
 *
 * @param name of the setting that says how many
 * @throws GradCacheError `INPUT`; what `encode` throws, also of an empty list
 */
export async function encodeInChunks(
  given: readonly string[],
  name: string,
  count: number,
  encode: (some: readonly string[]) => Promise<Tensor>,
): Promise<Tensor> {
  requireNumber(name, count, { from: 1, whole: true });
  const parts: Tensor[] = [];
  try {
    for (let begin = 0; begin < given.length || begin === 0; begin += count)
      parts.push(await encode(given.slice(begin, begin + count)));
    return noGrad(() => call('aten::cat', parts));
  } finally {
    for (const part of parts) part.dispose();
  }
}
