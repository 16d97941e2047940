import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../lib/data/random.js';

const draw = (random: Random, count: number) => Array.from({ length: count }, () => random.next());

test('a seed always gives the same numbers', () => {
  assert.deepEqual(draw(new Random(42), 5), draw(new Random(42), 5));
  // Fixed for good: a change of the generator would change every order that a seed has ever given.
  assert.deepEqual(draw(new Random(1, 2), 3), [783492860, 2162081323, 139095853]);
});

test('neighbouring seeds, streams and large seeds give different numbers', () => {
  const seen = new Set<string>();
  const seeds = [0, 1, 2, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];
  for (const seed of seeds)
    for (const stream of [0, 1, 2 ** 40]) seen.add(draw(new Random(seed, stream), 4).join());
  assert.equal(seen.size, seeds.length * 3);
});

test('bits and small ranges are even', () => {
  const random = new Random(7);
  const bits = new Array<number>(32).fill(0);
  for (let i = 0; i < 20_000; i++) {
    const word = random.next();
    for (let bit = 0; bit < 32; bit++) bits[bit]! += (word >>> bit) & 1;
  }
  for (const count of bits) assert.ok(Math.abs(count - 10_000) < 400, String(count));
  const thirds = [0, 0, 0];
  for (let i = 0; i < 30_000; i++) thirds[random.below(3)]!++;
  for (const count of thirds) assert.ok(Math.abs(count - 10_000) < 500, String(count));
  for (let i = 0; i < 1000; i++) {
    const value = random.uniform();
    assert.ok(value >= 0 && value < 1);
  }
  assert.equal(random.below(1), 0);
  assert.ok(random.below(2 ** 32) <= 0xffffffff);
});

test('every order of four items is about equally frequent', () => {
  const random = new Random(3);
  const counts = new Map<string, number>();
  for (let i = 0; i < 24_000; i++) {
    const order = random.shuffle(['a', 'b', 'c', 'd']).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assert.equal(counts.size, 24);
  for (const [order, count] of counts) assert.ok(Math.abs(count - 1000) < 200, `${order}: ${count}`);
});

test('seeds that are no whole numbers from 0 are refused', () => {
  for (const seed of [-1, 0.5, NaN, Infinity, 2 ** 53, '1' as unknown as number]) {
    assert.throws(() => new Random(seed), { code: 'INPUT' });
  }
});
