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

for (const dtype of ['float32', 'bfloat16'] as const) {
  test(`${dtype}: what is not finite in one sequence reaches no other`, async () => {
    const offsets = [0, 2, 7, 10];
    const run = async (spoilt: number | null) => {
      const values = normals(10 * 3 * HEADS * SIZE, 1);
      if (spoilt !== null) values.fill(spoilt, 0, 3 * HEADS * SIZE); // the first token
      const qkv = Tensor.from(values, { shape: [10, 3 * HEADS * SIZE], device }).to({ dtype });
      qkv.requiresGrad = true;
      const out: Tensor = call('gradcache::attention', qkv, offsets, HEADS, null, 0, 0, 0);
      await backward([out], [call('aten::nan_to_num', out.detach())]);
      return [out, qkv.grad!].map((tensor) => [
        ...(tensor.narrow(0, 2, 8).to({ dtype: 'float32' }).valuesSync() as Float32Array),
      ]);
    };
    const expected = await run(null);
    for (const spoilt of [NaN, Infinity]) assert.deepEqual(await run(spoilt), expected);
  });
}
