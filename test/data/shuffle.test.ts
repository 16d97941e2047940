import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shuffle } from '../../lib/data/shuffle.js';
import { collect } from './temporary-folder.js';

const numbers = Array.from({ length: 1000 }, (_, i) => i);
const sorted = (items: readonly number[]) => [...items].sort((a, b) => a - b);

test('every item comes once, in an order that seed and epoch decide', async () => {
  for (const buffer of [undefined, 1, 2, 100, 1000, 5000]) {
    const source = shuffle(numbers, { seed: 1, buffer });
    const order = await collect(source);
    assert.deepEqual(sorted(order), numbers);
    assert.deepEqual(await collect(source), order, 'the same when iterated again');
    assert.deepEqual(await collect(shuffle(numbers, { seed: 1, epoch: 0, buffer })), order);
    if (buffer === 1) {
      assert.deepEqual(order, numbers);
      continue;
    }
    assert.notDeepEqual(order, numbers);
    assert.notDeepEqual(await collect(shuffle(numbers, { seed: 2, buffer })), order);
    assert.notDeepEqual(await collect(shuffle(numbers, { seed: 1, epoch: 1, buffer })), order);
  }
});

test('with a buffer no item comes earlier than the buffer allows', async () => {
  const order = await collect(shuffle(numbers, { buffer: 50 }));
  order.forEach((item, place) => assert.ok(item <= place + 50, `${item} at ${place}`));
});

test('nothing and one item are orders too; bad options are refused at once', async () => {
  assert.deepEqual(await collect(shuffle([], { buffer: 3 })), []);
  assert.deepEqual(await collect(shuffle(['a'])), ['a']);
  for (const options of [{ buffer: 0 }, { buffer: 1.5 }, { seed: -1 }, { epoch: 0.1 }]) {
    assert.throws(() => shuffle([], options), { code: 'INPUT' });
  }
});
