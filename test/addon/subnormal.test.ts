import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tensor } from '../../lib/index.js';
import { callAsync } from '../../lib/tensor/operators.js';

// Gradients of a loss near zero are subnormal, and products of such numbers take a CPU up to a hundred times as long.
test('off the event loop subnormal numbers are zeros, in every thread that computes', async () => {
  const size = 1 << 20; // enough for all threads of OpenMP
  const tiny = Tensor.from(new Float32Array(size).fill(1e-30));
  const product = await callAsync('aten::mul.Tensor', tiny, Tensor.from([1e-10]));
  assert.deepEqual(new Set((await product.values()) as Float32Array), new Set([0]));
  const smallest = await callAsync('aten::mul.Tensor', tiny, Tensor.from([1e-7]));
  assert.deepEqual(new Set((await smallest.values()) as Float32Array), new Set([Math.fround(1e-37)]));
});
