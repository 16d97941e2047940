import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward, call, Tensor, type DType } from '../../lib/index.js';
import { device } from '../exactness/support.js';
import { largestDifference } from '../oracle/compare.js';
import { normals } from './support.js';

const [LENGTH, HEADS, SIZE, REACH] = [100, 2, 64, 16];

/** Output and gradient of one sequence whose queries see the keys up to a distance of REACH, by a bias of `far` beyond. */
async function attend(dtype: DType, far: number): Promise<Float64Array[]> {
  const qkv = Tensor.from(normals(LENGTH * 3 * HEADS * SIZE, 1), {
    shape: [LENGTH, 3 * HEADS * SIZE],
    device,
  }).to({
    dtype,
  });
  qkv.requiresGrad = true;
  const distances = Array.from({ length: HEADS * (2 * LENGTH - 1) }, (_, place) =>
    Math.abs((place % (2 * LENGTH - 1)) - (LENGTH - 1)) > REACH ? far : 0,
  );
  const bias = Tensor.from(Float64Array.from(distances), { shape: [HEADS, 2 * LENGTH - 1], device }).to({
    dtype,
  });
  const out: Tensor = call('gradcache::attention', qkv, [0, LENGTH], HEADS, bias, 0, 0, 0);
  await backward([out], [out.detach()]);
  return [out, qkv.grad!].map((tensor) => tensor.to({ dtype: 'float64' }).valuesSync() as Float64Array);
}

// Whole stretches of keys without any weight come before those that have some.
for (const [dtype, tolerance] of [
  ['float64', 1e-12],
  ['float32', 1e-5],
  ['bfloat16', 0.1],
] as const) {
  test(`${dtype}: keys whose bias is minus infinity have no part in a row, and spoil none`, async () => {
    const expected = await attend('float64', -1e4);
    for (const [part, values] of (await attend(dtype, -Infinity)).entries()) {
      assert.ok(values.every(Number.isFinite));
      const difference = largestDifference(values, expected[part]!);
      assert.ok(difference < tolerance, String(difference));
    }
  });
}
