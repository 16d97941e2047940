import assert from 'node:assert/strict';
import {
  call,
  emptyCache,
  GradCache,
  GradCacheError,
  infoNCE,
  memory,
  type GradCacheOptions,
  type StepResult,
  type Tensor,
  type TextEncoder,
  type TokenBatch,
} from '../../lib/index.js';

/**
 * The tests of this folder need a GPU: `npm run test:gpu` runs them, and `npm test` does not. With GRADCACHE_TEST_DEVICE=cpu
 * those that can run on a CPU do.
 */
export const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cuda';

/** Random token ids of texts with these lengths. */
export function tokens(lengths: readonly number[], vocabulary: number, seed: number): TokenBatch {
  const offsets = new Int32Array(lengths.length + 1);
  for (const [k, length] of lengths.entries()) offsets[k + 1] = offsets[k]! + length;
  let state = seed;
  const ids = Int32Array.from({ length: offsets.at(-1)! }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + ((state >>> 8) % (vocabulary - 1));
  });
  return { ids, offsets, truncated: 0 };
}

/** `count` lengths of 1..longest that follow no order. */
export function mixedLengths(count: number, longest: number): number[] {
  return Array.from({ length: count }, (_, k) => ((k * 7919 + (k >> 3)) % longest) + 1);
}

/** One step of tied towers. */
export function step(
  encoder: TextEncoder,
  batches: readonly TokenBatch[],
  options: Partial<GradCacheOptions> = {},
): Promise<StepResult> {
  return new GradCache({
    encoders: batches.map(() => encoder),
    loss: infoNCE({ temperature: 0.05 }),
    seed: 7,
    ...options,
  }).step(batches);
}

/** All gradients of an encoder, by name. */
export async function gradients(encoder: TextEncoder): Promise<Map<string, Float32Array | Float64Array>> {
  const all = new Map<string, Float32Array | Float64Array>();
  for (const { name, tensor } of encoder.parameters()) {
    if (tensor.grad) all.set(name, (await tensor.grad.values()) as Float32Array);
  }
  return all;
}

/**
 * Takes the card's memory but for `left` bytes, in blocks of these sizes. The allocator serves up to 1 MiB from one pool
 * and more from another, whose half-used segments only sizes beyond 1 MiB can fill.
 */
export function fill(left: number, units: readonly number[]): Tensor[] {
  emptyCache(device);
  const taken: Tensor[] = [];
  for (const unit of units) {
    try {
      while (left === 0 || memory(device).available - left > unit) {
        taken.push(call('aten::empty.memory_format', [unit], { dtype: 'uint8', device }));
      }
    } catch (error) {
      assert.ok(error instanceof GradCacheError && error.code === 'OUT_OF_MEMORY', String(error));
    }
  }
  return taken;
}
