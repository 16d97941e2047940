import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oneAhead } from '../../lib/cli/one-ahead.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Items that are made when `make` is called with them. */
function workshop() {
  const started: number[] = [];
  const disposed: number[] = [];
  const ends = new Map<number, (error?: Error) => void>();
  const start = (item: number) => {
    started.push(item);
    return new Promise<{ item: number; dispose(): void }>((resolve, reject) => {
      ends.set(item, (error) => {
        if (error) reject(error);
        else resolve({ item, dispose: () => void disposed.push(item) });
      });
    });
  };
  return { started, disposed, start, make: (item: number, error?: Error) => ends.get(item)!(error) };
}

async function* numbers(count: number) {
  for (let item = 0; item < count; item++) yield item;
}

test('the next is started before one is taken, and no more', async () => {
  const { started, start, make } = workshop();
  const given = oneAhead(numbers(3), start, true);
  const first = given.next();
  await settled();
  assert.deepEqual(started, [0, 1]);
  make(0);
  assert.equal((await first).value![0], 0);
  const second = given.next();
  await settled();
  assert.deepEqual(started, [0, 1, 2]);
  make(1);
  make(2);
  assert.equal((await second).value![0], 1);
  assert.equal((await given.next()).value![0], 2);
  assert.equal((await given.next()).done, true);
});

test('where it is not to go ahead, one is started after the other is taken', async () => {
  const { started, start, make } = workshop();
  const given = oneAhead(numbers(2), start, false);
  const first = given.next();
  await settled();
  assert.deepEqual(started, [0]);
  make(0);
  await first;
  await settled();
  assert.deepEqual(started, [0]);
  const second = given.next();
  await settled();
  make(1);
  assert.equal((await second).value![0], 1);
});

test('what is ready does not wait for an item that does not come', async () => {
  const { start, make } = workshop();
  async function* slow() {
    yield 0;
    await new Promise(() => undefined);
  }
  const given = oneAhead(slow(), start, true);
  const first = given.next();
  await settled();
  make(0);
  assert.equal((await first).value![0], 0);
});

test('after a failure, or an end before the last, what was made is disposed', async () => {
  const failing = workshop();
  const given = oneAhead(numbers(3), failing.start, true);
  const first = given.next();
  await settled();
  failing.make(0, new Error('broken'));
  failing.make(1);
  await assert.rejects(first, /broken/);
  assert.deepEqual(failing.disposed, [1]);

  const ended = workshop();
  const others = oneAhead(numbers(3), ended.start, true);
  const one = others.next();
  await settled();
  ended.make(0);
  await one;
  const end = others.return();
  ended.make(1);
  await end;
  assert.deepEqual(ended.disposed, [1]);
});
