import assert from 'node:assert/strict';
import { test } from 'node:test';
import { infoNCE, RepresentationCache, Tensor, withSeed, call, backward, withGrad } from '../../lib/index.js';
import { assertClose, relativeError } from '../oracle/compare.js';
import { device, plainInfoNCE } from './support.js';

const random = (
  rows: number,
  columns: number,
  seed: number,
  dtype: 'float64' | 'float32' = 'float64',
): Tensor =>
  withSeed(seed, () => call('aten::randn', [rows, columns], { dtype: 'float64' })).to({ dtype, device });

const all = (rows: number) => Int32Array.from({ length: rows }, (_, row) => row);

async function cacheOf(towers: readonly Tensor[]): Promise<RepresentationCache> {
  const cache = new RepresentationCache(towers.map(({ shape }) => shape[0]!));
  for (const [tower, values] of towers.entries()) cache.put(tower, all(values.shape[0]!), values);
  return cache;
}

const read = async (tensor: Tensor) => (await tensor.values()) as Float64Array;

test('the cache holds the closed-form u and v of the paper', async () => {
  const [rows, candidates, dimension, temperature] = [7, 11, 5, 0.3] as const;
  const f = random(rows, dimension, 1);
  const g = random(candidates, dimension, 2);
  const targets = [3, 0, 3, 10, 7, 7, 3];
  const cache = await cacheOf([f, g]);
  const loss = await cache.compute(infoNCE({ temperature, similarity: 'dot' }), { targets });

  const [fv, gv] = [await read(f), await read(g)];
  const at = (values: Float64Array, row: number, column: number) => values[row * dimension + column]!;
  const dot = (i: number, j: number) => {
    let sum = 0;
    for (let c = 0; c < dimension; c++) sum += at(fv, i, c) * at(gv, j, c);
    return sum / temperature;
  };
  // p_ij = softmax_j(f_i . g_j / tau)
  const p = Array.from({ length: rows }, (_, i) => {
    const exps = Array.from({ length: candidates }, (_, j) => Math.exp(dot(i, j)));
    const total = exps.reduce((a, b) => a + b, 0);
    return exps.map((value) => value / total);
  });
  const expectedLoss = -targets.reduce((sum, target, i) => sum + Math.log(p[i]![target]!), 0) / rows;
  assert.ok(Math.abs(loss - expectedLoss) <= 1e-12 * expectedLoss);
  const u: number[] = [];
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < dimension; c++) {
      const mean = p[i]!.reduce((sum, value, j) => sum + value * at(gv, j, c), 0);
      u.push(-(at(gv, targets[i]!, c) - mean) / (temperature * rows));
    }
  }
  const v: number[] = [];
  for (let j = 0; j < candidates; j++) {
    for (let c = 0; c < dimension; c++) {
      // epsilon_j: the anchors that have j as their target, summed
      const epsilon = targets.reduce((sum, target, k) => sum + (target === j ? at(fv, k, c) : 0), 0);
      const mean = p.reduce((sum, row, i) => sum + row[j]! * at(fv, i, c), 0);
      v.push(-(epsilon - mean) / (temperature * rows));
    }
  }
  assertClose(await read(cache.gradients(0, all(rows))), u, 1e-12, 'u');
  assertClose(await read(cache.gradients(1, all(candidates))), v, 1e-12, 'v');
  cache.dispose();
});

test('the order of rows in the cache is that of the batch, whatever order chunks come in', async () => {
  const values = random(6, 4, 3);
  const cache = new RepresentationCache([6]);
  for (const rows of [Int32Array.of(5, 0), Int32Array.of(3), Int32Array.of(4, 1, 2)]) {
    cache.put(0, rows, values.indexSelect(0, Tensor.from(rows, { dtype: 'int64', device })));
  }
  assert.deepEqual(await read(cache.representations(0)), await read(values));
  cache.dispose();
});

/** Autograd on all scores at once against the tiles: sizes above one tile (8 MiB of scores) and not a multiple of it. */
for (const [title, settings] of [
  ['cosine', {}],
  ['dot product', { similarity: 'dot', temperature: 4 }],
  ['both directions', { symmetric: true }],
] as const) {
  for (const [dtype, tolerance] of [
    ['float64', 1e-10],
    ['float32', 1e-5],
  ] as const) {
    test(`tiles give the gradients of all scores at once: ${title}, ${dtype}`, async () => {
      const temperature = 'temperature' in settings ? settings.temperature : 0.1;
      const towers = [random(1531, 12, 4, dtype), random(1531, 12, 5, dtype), random(700, 12, 6, dtype)];
      const leaves = towers.map((tensor) => {
        const leaf = tensor.to({ dtype: 'float64' }).detach().clone();
        leaf.requiresGrad = true;
        return leaf;
      });
      const root = withGrad(() => plainInfoNCE({ ...settings, temperature })(...leaves));
      await backward([root], [null]);
      const cache = await cacheOf(towers);
      const loss = await cache.compute(infoNCE({ ...settings, temperature }), {}, 0.5);
      assert.ok(Math.abs(loss - root.item()) <= tolerance * loss, `${loss} for ${root.item()}`);
      for (const [tower, leaf] of leaves.entries()) {
        const expected = (await read(leaf.grad!)).map((value) => value / 2);
        const error = relativeError(await read(cache.gradients(tower, all(leaf.shape[0]!))), expected);
        assert.ok(error <= tolerance, `tower ${tower}: ${error}`);
      }
      cache.dispose();
    });
  }
}

test('similarities that overflow an exponential do no harm', async () => {
  const f = random(4, 3, 7).mul(1e4);
  const cache = await cacheOf([f, f.mul(0.5)]);
  const loss = await cache.compute(infoNCE({ temperature: 0.01, similarity: 'dot' }));
  assert.ok(Number.isFinite(loss));
  assert.ok((await read(cache.gradients(0, all(4)))).every(Number.isFinite));
  cache.dispose();
});

test('a representation of length zero gives no NaN under cosine similarity', async () => {
  const cache = await cacheOf([
    call('aten::zeros', [3, 4], { dtype: 'float32', device }),
    random(3, 4, 8, 'float32'),
  ]);
  const loss = await cache.compute(infoNCE());
  assert.ok(Number.isFinite(loss));
  assert.ok((await read(cache.gradients(0, all(3)))).every(Number.isFinite));
  cache.dispose();
});
