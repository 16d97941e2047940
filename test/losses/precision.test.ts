import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LossModel } from '../../lib/losses/loss-kind.js';
import { LOSSES } from '../../lib/losses/loss-kinds.js';
import { precisionFor } from '../../lib/losses/precision.js';

const model: LossModel = { dimension: 8, device: 'cuda:1', dtype: 'float32', bfloat16: true, seed: 1 };

test('auto is fast for a model in bfloat16 on a GPU, where the other settings allow it', () => {
  assert.equal(precisionFor('auto', model, true), 'fast');
  assert.equal(precisionFor('auto', model, false), 'exact');
  assert.equal(precisionFor('auto', { ...model, device: 'cpu' }, true), 'exact');
  assert.equal(precisionFor('auto', { ...model, bfloat16: false }, true), 'exact');
  assert.equal(precisionFor('auto', { ...model, sparse: true }, true), 'exact');
  assert.equal(precisionFor('exact', model, true), 'exact');
  assert.equal(precisionFor('fast', { ...model, device: 'cpu', bfloat16: false }, true), 'fast');
});

test('fast is refused for sparse representations before there is a batch', () => {
  assert.throws(() => precisionFor('fast', { ...model, sparse: true }, true), {
    code: 'INPUT',
    message: /loss\.precision is "fast".*"exact"/,
  });
});

test('losses that can be fast have the setting, exact by default', () => {
  const able = Object.entries(LOSSES).filter(([, { settings }]) => 'precision' in settings);
  assert.deepEqual(
    able.map(([name]) => name),
    ['infonce', 'multiple-negatives-ranking', 'ntxent', 'siglip', 'splade'],
  );
  for (const [, { settings }] of able)
    assert.equal((settings as { precision: { default: string } }).precision.default, 'exact');
});
