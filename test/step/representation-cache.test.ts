import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, GradCacheError, infoNCE, RepresentationCache, Tensor, tidy } from '../../lib/index.js';
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

test('only a tower without rows takes no representations', () => {
  const cache = new RepresentationCache([2, 0]);
  assert.throws(() => cache.fillNone(1, 0), fails('INPUT', /tower 0 has 0 of 2/));
  cache.put(0, Int32Array.of(0, 1), Tensor.from([1, 2, 3, 4], { shape: [2, 2] }));
  assert.throws(() => cache.fillNone(0, 0), fails('INPUT', /tower 0 has 2 rows/));
  cache.fillNone(1, 0);
  assert.deepEqual(cache.representations(1).shape, [0, 2]);
  cache.dispose();
});

test('a cache with a row twice and another never has not all representations', () => {
  const cache = new RepresentationCache([2, 2]);
  const row = Tensor.from([1, 2], { shape: [1, 2] });
  cache.put(0, Int32Array.of(0), row);
  cache.put(0, Int32Array.of(0), row);
  assert.throws(() => cache.representations(0), fails('INPUT', /1 of 2/));
  cache.dispose();
});

test('what is put in a tidy block is kept', async () => {
  const first = [1, 2, 3, 4];
  const loss = (a: Tensor, b: Tensor) => a.mul(b).sum();
  for (const counts of [undefined, Int32Array.of(1)]) {
    const cache = new RepresentationCache([2, 2]);
    for (const tower of [0, 1]) {
      for (const row of [1, 0])
        tidy(() => {
          const values = Tensor.from(first.slice(2 * row, 2 * row + 2), { shape: [1, 2] });
          cache.put(tower, Int32Array.of(row), values, counts);
        });
    }
    assert.equal(await cache.compute(loss), 30);
    assert.deepEqual([...((await cache.gradients(0, Int32Array.of(0, 1)).values()) as Float32Array)], first);
    cache.dispose();
  }
});

test('a chunk whose representations are unlike those before it is refused by what differs', () => {
  for (const counts of [undefined, Int32Array.of(1)]) {
    const cache = new RepresentationCache([2]);
    const put = (row: number, shape: number[], dtype: 'float32' | 'float64' = 'float32') => {
      cache.put(0, Int32Array.of(row), call('aten::ones', shape, { dtype }), counts);
    };
    assert.throws(() => put(0, [1, 2, 2]), fails('SHAPE'));
    put(0, [1, 2]);
    for (const shape of [[1, 1], [1, 3], [1], [1, 2, 1]])
      assert.throws(() => put(1, shape), fails('SHAPE'), shape.join());
    assert.throws(() => put(1, [1, 2], 'float64'), fails('DTYPE'));
    put(1, [1, 2]);
    assert.deepEqual(cache.representations(0).shape, [2, 2]);
    cache.dispose();
  }
});

test('a cache that was emptied takes a batch of the other form', async () => {
  const cache = new RepresentationCache([2, 2]);
  const rows = Int32Array.of(0, 1);
  for (const counts of [undefined, Int32Array.of(2, 1), undefined]) {
    const values = call('aten::ones', [counts === undefined ? 2 : 3, 2]);
    for (const tower of [0, 1]) cache.put(tower, rows, values, counts);
    assert.deepEqual(cache.offsets(0), counts === undefined ? null : Int32Array.of(0, 2, 3));
    await cache.compute(counts === undefined ? infoNCE() : (a: Tensor, b: Tensor) => a.mul(b).sum());
    assert.deepEqual(cache.gradients(0, rows).shape, values.shape);
    cache.releaseRepresentations();
  }
  cache.dispose();
});

test('a weight that gradients cannot be multiplied by is refused', async () => {
  const cache = new RepresentationCache([2, 2]);
  for (const tower of [0, 1])
    cache.put(tower, Int32Array.of(0, 1), Tensor.from([1, 2, 3, 4 + tower], { shape: [2, 2] }));
  for (const weight of [1e308, -1e308, 3.5e38, Infinity, NaN, '1'])
    await assert.rejects(cache.compute(infoNCE(), {}, weight as number), {
      code: 'INPUT',
      message: /^weight is/,
    });
  await assert.rejects(
    infoNCE().compute([Tensor.from([1], { shape: [1, 1] }), Tensor.from([1], { shape: [1, 1] })], 1e308, {}),
    {
      code: 'INPUT',
    },
  );
  await cache.compute(infoNCE(), {}, 1e30);
  cache.dispose();
});
