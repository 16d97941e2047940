import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constantSchedule, cosineSchedule, linearSchedule } from '../../lib/optim/schedules.js';

function rates(schedule: (step: number) => number, steps: number): number[] {
  return Array.from({ length: steps }, (_, step) => Number(schedule(step).toFixed(6)));
}

test('the linear schedule warms up without a step of rate 0 and falls in a straight line', () => {
  assert.deepEqual(
    rates(linearSchedule({ lr: 1, warmup: 2, total: 6 }), 8),
    [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0],
  );
});

test('the cosine schedule is at half its height half of the way, and ends at the final rate', () => {
  assert.deepEqual(
    rates(cosineSchedule({ lr: 1, total: 4, final: 0.2 }), 6),
    [1, 0.882843, 0.6, 0.317157, 0.2, 0.2],
  );
});

test('the constant schedule stays where the warm-up ends', () => {
  assert.deepEqual(rates(constantSchedule({ lr: 2, warmup: 4 }), 6), [0.5, 1, 1.5, 2, 2, 2]);
});

test('a schedule may be warm-up alone', () => {
  assert.deepEqual(rates(linearSchedule({ lr: 1, warmup: 4, total: 4 }), 5), [0.25, 0.5, 0.75, 1, 0]);
});

test('settings that make no schedule are refused', () => {
  for (const options of [
    { lr: -1, total: 5 },
    { lr: 1, total: 0 },
    { lr: 1, total: 5, warmup: 6 },
    { lr: 1, total: 5, warmup: 1.5 },
    { lr: 1, total: 5, final: 2 },
  ]) {
    assert.throws(() => linearSchedule(options), { code: 'INPUT' });
  }
});
