import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, Tensor, tidy } from '../../lib/index.js';
import { device } from '../exactness/support.js';
import { evenCases, leaves, oddCases, outputAndGradients, some, valuesFor } from './support.js';

const ROWS = 601;
const WIDTH = 333;
const COUNT = ROWS * WIDTH;

/** 1 for every element that is kept, 0 for the others. */
function mask(p: number, seed: number | bigint, site = 0): Float64Array {
  return tidy(() => {
    const ones: Tensor = call('aten::ones', [ROWS, WIDTH], { dtype: 'float64', device });
    const values = call('gradcache::dropout', ones, p, seed, site).valuesSync() as Float64Array;
    return values.map((value) => (value === 0 ? 0 : 1));
  });
}

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Pearson's. */
function correlation(a: Float64Array, b: Float64Array): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let k = 0; k < a.length; k++) {
    const [da, db] = [a[k]! - meanA, b[k]! - meanB];
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return ab / Math.sqrt(aa * bb);
}

test('the share kept is 1 - p', () => {
  for (const p of [0.01, 0.1, 0.25, 0.5, 0.9]) {
    for (const seed of [0, 1, 2 ** 40 + 7]) {
      const error = Math.sqrt((p * (1 - p)) / COUNT);
      const kept = mean(mask(p, seed));
      assert.ok(Math.abs(kept - (1 - p)) < 4 * error, `p ${p}, seed ${seed}: ${kept} kept`);
    }
  }
});

test('what is kept grows by 1 / (1 - p), and without dropout nothing changes', () => {
  const x = Tensor.from(new Float32Array(50).fill(3), { shape: [5, 10], device });
  const values = call('gradcache::dropout', x, 0.25, 1).valuesSync() as Float32Array;
  assert.deepEqual(new Set(values), new Set([0, 4]));
  assert.deepEqual(call('gradcache::dropout', x, 0, 1).valuesSync(), x.valuesSync());
});

test('masks of different seeds and sites are not correlated, nor are neighbours within one', () => {
  const limit = 4 / Math.sqrt(COUNT);
  const first = mask(0.5, 7);
  const others = [
    ...[8, 6, 7 + 2 ** 32, -7n, 7n << 40n].map((seed) => [`seed ${seed}`, mask(0.5, seed)] as const),
    ...[1, 2, 1 << 20].map((site) => [`site ${site}`, mask(0.5, 7, site)] as const),
    // A mask against itself, moved on by so many elements.
    ...[1, 2, WIDTH, WIDTH + 1, 2 * WIDTH].map((by) => {
      const moved = new Float64Array(COUNT);
      for (let k = 0; k < COUNT; k++) moved[k] = first[(k + by) % COUNT]!;
      return [`moved by ${by}`, moved] as const;
    }),
  ];
  for (const [what, other] of others) {
    const found = correlation(first, other);
    assert.ok(Math.abs(found) < limit, `${what}: correlation ${found}`);
  }
});

test('the mask does not depend on the element type', () => {
  const dropped = (['float64', 'float32', 'bfloat16', 'float16'] as const).map((dtype) => {
    const ones: Tensor = call('aten::ones', [41, 64], { dtype, device });
    return [...(call('gradcache::dropout', ones, 0.4, 5, 6).valuesSync() as Float32Array)].map(
      (v) => v === 0,
    );
  });
  for (const other of dropped) assert.deepEqual(other, dropped[0]);
});

for (const operator of [...oddCases, ...evenCases].filter(({ drops }) => drops)) {
  test(`${operator.name}: one seed gives the same bits twice, another other ones`, async () => {
    for (const dtype of ['float64', 'float32', 'bfloat16'] as const) {
      const values = valuesFor(operator);
      const [first, again, seeded, placed] = await Promise.all(
        [some, some, { ...some, seed: 43 }, { ...some, site: 4 }].map((dropout) =>
          outputAndGradients(leaves(operator, values, dtype), (inputs) => operator.run(inputs, dropout)),
        ),
      );
      assert.deepEqual(again, first);
      assert.notDeepEqual(seeded!.get('output'), first!.get('output'));
      assert.notDeepEqual(placed!.get('output'), first!.get('output'));
    }
  });
}

test('in bfloat16 and float16 what is kept is rounded once, so that the mean stays', () => {
  for (const [dtype, tolerance] of [
    ['bfloat16', 5e-4],
    ['float16', 1e-4],
  ] as const) {
    const values = tidy(() => {
      const x: Tensor = call('aten::rand', [ROWS, WIDTH], { dtype: 'float32', device }).to({ dtype });
      const kept: Tensor = call('gradcache::dropout', x, 0.1, 1, 0);
      return [x, kept].map((tensor) => tensor.to({ dtype: 'float64' }).valuesSync() as Float64Array);
    });
    let [sum, before] = [0, 0];
    for (const [k, value] of values[1]!.entries()) {
      if (value === 0) continue;
      sum += value;
      before += values[0]![k]!;
    }
    assert.ok(Math.abs((sum / before) * 0.9 - 1) < tolerance, `${dtype}: ${sum / before}`);
  }
});
