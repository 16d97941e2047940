import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, GradCacheError, RepresentationCache, Tensor } from '../../lib/index.js';
import { fails } from '../robustness/failures.js';

test('a representation cache keeps its books', async () => {
  const cache = new RepresentationCache([3, 2]);
  const rows = Int32Array.of(0, 1);
  const values = call('aten::ones', [2, 4]);
  assert.throws(() => cache.gradients(0, rows), fails('INPUT', /compute/));
  assert.throws(() => cache.put(2, rows, values), fails('INPUT', /no tower 2/));
  assert.throws(() => cache.put(0, Int32Array.of(0), values), fails('SHAPE'));
  assert.throws(() => cache.put(0, Int32Array.of(0, 3), values), fails(['INPUT', 'SHAPE', 'OPERATOR']));
  assert.throws(() => cache.put(0, Int32Array.of(0, -1), values), fails(['INPUT', 'SHAPE', 'OPERATOR']));
  const filled = new RepresentationCache([3, 2]);
  filled.put(0, rows, values);
  filled.put(1, rows, values);
  assert.throws(
    () => filled.put(0, Int32Array.of(2), call('aten::ones', [1, 5])),
    fails(['SHAPE', 'OPERATOR']),
  );
  await assert.rejects(
    filled.compute((a: Tensor) => a.sum()),
    fails('INPUT', /2 of 3/),
  );
  for (const counts of [[-1], [0.5], [NaN], [2 ** 60]]) {
    await assert.rejects(async () => {
      const bad = new RepresentationCache(counts);
      bad.put(0, rows, values);
    }, GradCacheError);
  }
});

test('a cache with a row twice and another never has not all representations', () => {
  const cache = new RepresentationCache([2, 2]);
  const row = Tensor.from([1, 2], { shape: [1, 2] });
  cache.put(0, Int32Array.of(0), row);
  cache.put(0, Int32Array.of(0), row);
  assert.throws(() => cache.representations(0), fails('INPUT', /1 of 2/));
  cache.dispose();
});
