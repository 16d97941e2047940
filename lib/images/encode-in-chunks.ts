import { throwIfAborted } from '../options/abort.js';
import { requireNumber, requireSignal } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

/** How many are encoded at a time. */
interface Chunks {
  /** Of the setting that says so. */
  readonly name: string;
  readonly count: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Representations [n, dimension] of pictures or captions, so many at a time.
 *
 * @throws GradCacheError `INPUT`, `ABORTED`; what `encode` throws, also of an empty list
 */
export async function encodeInChunks(
  given: readonly string[],
  { name, count, signal }: Chunks,
  encode: (some: readonly string[]) => Promise<Tensor>,
): Promise<Tensor> {
  requireNumber(name, count, { from: 1, whole: true });
  requireSignal('signal', signal);
  const parts: Tensor[] = [];
  try {
    for (let begin = 0; begin < given.length || begin === 0; begin += count) {
      throwIfAborted(signal);
      parts.push(await encode(given.slice(begin, begin + count)));
    }
    return noGrad(() => call('aten::cat', parts));
  } finally {
    for (const part of parts) part.dispose();
  }
}
