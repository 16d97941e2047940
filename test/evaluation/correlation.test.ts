import assert from 'node:assert/strict';
import { test } from 'node:test';
import { averageRanks, pearson, spearman } from '../../lib/evaluation/correlation.js';

// Reference values: scipy.stats.rankdata, pearsonr and spearmanr of SciPy 1.17.1.
const FIRST = [3.1, 0.2, 5, 5, -1, 2.5, 5, 0.2];
const SECOND = [2, 1, 4, 3, 0.5, 3, 4, 2];

test('equal values share the average of their ranks', () => {
  assert.deepEqual([...averageRanks(FIRST)], [5, 2.5, 7, 7, 1, 4, 7, 2.5]);
  assert.deepEqual([...averageRanks([])], []);
});

test('Pearson and Spearman agree with SciPy, ties included', () => {
  assert.ok(Math.abs(pearson(FIRST, SECOND) - 0.904397845729608) < 1e-12);
  assert.ok(Math.abs(spearman(FIRST, SECOND) - 0.8938198324023412) < 1e-12);
  assert.ok(Math.abs(spearman([1, 2, 3], [9, 5, 1]) + 1) < 1e-12);
});

test('a constant list has no correlation, and lists must have one length', () => {
  assert.ok(Number.isNaN(spearman([1, 1, 1], [1, 2, 3])));
  assert.throws(() => spearman([1, 2], [1]), { code: 'SHAPE' });
  assert.throws(() => pearson([1], [1]), { code: 'SHAPE' });
  assert.throws(() => spearman([1, NaN, 2], [1, 2, 3]), { code: 'NON_FINITE', message: /Value 1/ });
});
