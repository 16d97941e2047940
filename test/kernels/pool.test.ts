import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward, call, noGrad, Tensor, type DType } from '../../lib/index.js';
import { device } from '../exactness/support.js';
import { assertClose, largestDifference } from '../oracle/compare.js';
import { fails } from '../robustness/failures.js';
import { normals } from './support.js';

const TYPES: readonly DType[] = ['float64', 'float32', 'bfloat16', 'float16'];

function leaf(values: readonly number[] | Float64Array, shape: readonly number[], dtype: DType): Tensor {
  const tensor = Tensor.from(Float64Array.from(values), { shape, device }).to({ dtype });
  tensor.requiresGrad = true;
  return tensor;
}

const numbers = (tensor: Tensor): number[] => Array.from(tensor.valuesSync() as Float64Array);

/** A column of values behind seven of zeros, so that CUDA's kernels take it. */
const column = (values: readonly number[]): number[] =>
  values.flatMap((value) => [0, 0, 0, 0, 0, 0, 0, value]);

test('rows are float32 where the tokens are narrower, and their gradient is in the type of the tokens', async () => {
  for (const dtype of TYPES) {
    const x = leaf(normals(48, 1), [6, 8], dtype);
    const y: Tensor = call('gradcache::pool', x, [0, 2, 6], 'mean', true);
    assert.equal(y.dtype, dtype === 'float64' ? 'float64' : 'float32');
    await backward([y.sum()], [null]);
    assert.equal(x.grad!.dtype, dtype);
  }
});

test('the mean of bfloat16 tokens is taken in float32', () => {
  // In bfloat16, 256 + 1 is 256.
  const x = leaf(column([256, 1, 1, 1]), [4, 8], 'bfloat16');
  assert.equal(numbers(call('gradcache::pool', x, [0, 4], 'mean', false)).at(-1), 64.75);
});

test('of tokens with the same largest value the first gets its gradient', async () => {
  for (const dtype of TYPES) {
    const x = leaf(column([1, 3, 3, 2, -5, -5, -5]), [7, 8], dtype);
    const y: Tensor = call('gradcache::pool', x, [0, 4, 7], 'max', false);
    assert.deepEqual(numbers(y), column([3, -5]));
    await backward([y.sum()], [null]);
    const own = numbers(x.grad!).filter((_, k) => k % 8 === 7);
    assert.deepEqual(own, [0, 1, 0, 0, 1, 0, 0]);
    const others = numbers(x.grad!).filter((_, k) => k % 8 === 0);
    assert.deepEqual(others, [1, 0, 0, 0, 1, 0, 0]);
  }
});

test('nothing is larger than NaN, and minus infinity is a maximum where there is nothing else', () => {
  for (const dtype of TYPES) {
    const x = leaf(column([1, NaN, 2, Infinity, -Infinity, -Infinity, NaN, 0]), [8, 8], dtype);
    const y: Tensor = call('gradcache::pool', x, [0, 4, 6, 8], 'max', false);
    assert.deepEqual(numbers(y), column([NaN, -Infinity, NaN]));
  }
});

test('a row too short to be normalised is divided by the least norm, as its gradient is', async () => {
  for (const [dtype, tolerance] of [
    ['float64', 1e-12],
    ['float32', 1e-6],
    ['bfloat16', 5e-3],
  ] as const) {
    for (const size of [0, 1e-14, 1e-9]) {
      const values = normals(32, 3).map((value) => value * size);
      const [ours, theirs] = [leaf(values, [4, 8], dtype), leaf(values, [4, 8], dtype)];
      const y: Tensor = call('gradcache::pool', ours, [0, 4], 'mean', true);
      const mean: Tensor = call('aten::mean.dim', theirs.to({ dtype: y.dtype }), [0], true);
      const norm: Tensor = call('aten::linalg_vector_norm', mean, 2, [1], true);
      const expected = mean.div(call<Tensor>('aten::clamp_min', norm, 1e-12));
      assert.ok(largestDifference(numbers(y), numbers(expected)) <= tolerance, `row of ${size}`);
      const seed = () => Tensor.from(normals(8, 9), { shape: [1, 8], device }).to({ dtype: y.dtype });
      await backward([y, expected], [seed(), seed()]);
      assertClose(numbers(ours.grad!), numbers(theirs.grad!), tolerance, `gradient at ${size}`);
    }
  }
});

test('more sequences than threads, and long ones beside short ones, are what they are alone', () => {
  const lengths = Array.from({ length: 70 }, (_, s) => (s % 7 === 0 ? 300 + s : 1 + (s % 5)));
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets.at(-1)! + length);
  const x = leaf(normals(offsets.at(-1)! * 24, 4), [offsets.at(-1)!, 24], 'float32');
  for (const pooling of ['mean', 'cls', 'max', 'last', 'mean-sqrt-length', 'weighted-mean']) {
    const together = numbers(call('gradcache::pool', x, offsets, pooling, true));
    const alone = lengths.flatMap((length, s) =>
      numbers(call('gradcache::pool', x.narrow(0, offsets[s]!, length), [0, length], pooling, true)),
    );
    assertClose(together, alone, 1e-6, pooling);
  }
});

test('a normalised row changed in place has no backward, another has', async () => {
  for (const normalize of [true, false]) {
    const x = leaf(normals(48, 5), [6, 8], 'float32');
    const y: Tensor = call('gradcache::pool', x, [0, 2, 6], 'mean', normalize);
    const target = y.sum();
    noGrad(() => call('aten::zero_', y));
    const done = backward([target], [null]);
    if (normalize) await assert.rejects(done, fails('OPERATOR', /modified by an inplace operation/));
    else await done;
  }
});
