import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate, setTimeout as wait } from 'node:timers/promises';
import { prefetch } from '../../lib/data/prefetch.js';
import { collect } from './temporary-folder.js';

/** Time for whatever does not wait for anybody: a source gives an item a turn. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await setImmediate();
}

/** A source that notes what is taken from it and whether it was closed. */
function counted(count: number, failAt = Infinity) {
  const state = { taken: 0, closed: 0 };
  async function* generate() {
    try {
      for (let i = 0; i < count; i++) {
        await setImmediate();
        if (i === failAt) throw new Error(`source fails at ${i}`);
        state.taken++;
        yield i;
      }
    } finally {
      state.closed++;
    }
  }
  return { state, source: generate() };
}

test('results come in order, whatever the time each takes', async () => {
  for (const ahead of [1, 2, 7]) {
    const { source, state } = counted(20);
    const results = await collect(prefetch(source, async (i) => wait((i * 7) % 5, i * 10), { ahead }));
    assert.deepEqual(
      results,
      Array.from({ length: 20 }, (_, i) => i * 10),
    );
    assert.equal(state.closed, 1);
  }
  assert.deepEqual(await collect(prefetch(['a', 'b'], (text, index) => text + index)), ['a0', 'b1']);
  assert.deepEqual(await collect(prefetch([], () => 1)), []);
});

test('it works ahead by as much as asked and no more, and not before it is used', async () => {
  for (const ahead of [1, 2]) {
    const { source, state } = counted(100);
    let mapped = 0;
    const results = prefetch(source, (i) => (mapped++, i), { ahead });
    await turns();
    assert.equal(state.taken, 0);
    for (let used = 1; used <= 3; used++) {
      await results.next();
      await turns();
      assert.equal(mapped, used + ahead);
      assert.equal(state.taken, used + ahead);
    }
    await results.return();
    assert.equal(state.closed, 1);
  }
});

test('an error comes in its turn, after the results before it, and closes the source', async () => {
  for (const ahead of [1, 3]) {
    const { source, state } = counted(10);
    const seen: number[] = [];
    const failing = async () => {
      for await (const i of prefetch(source, (i) => (i === 4 ? Promise.reject(new Error('map fails')) : i), {
        ahead,
      }))
        seen.push(i);
    };
    await assert.rejects(failing(), /map fails/);
    assert.deepEqual(seen, [0, 1, 2, 3]);
    assert.equal(state.closed, 1);
  }
  const { source, state } = counted(10, 2);
  const seen: number[] = [];
  const failing = async () => {
    for await (const i of prefetch(source, (i) => i, { ahead: 2 })) seen.push(i);
  };
  await assert.rejects(failing(), /source fails at 2/);
  assert.deepEqual(seen, [0, 1]);
  assert.equal(state.closed, 1);
});

test('leaving the loop waits for work under way, closes the source and starts nothing more', async () => {
  const { source, state } = counted(100);
  let running = 0;
  let started = 0;
  const map = async (i: number) => {
    running++;
    started++;
    await wait(10);
    running--;
    if (i > 0) throw new Error('nobody sees this');
    return i;
  };
  for await (const i of prefetch(source, map, { ahead: 2 })) {
    assert.equal(i, 0);
    break;
  }
  assert.equal(running, 0);
  assert.equal(state.closed, 1);
  const before = started;
  await turns();
  assert.equal(started, before);
});

test('an iterator that cannot be asked twice at once is not', async () => {
  let pending = 0;
  let next = 0;
  const source = {
    [Symbol.asyncIterator]: () => ({
      async next() {
        assert.equal(pending++, 0);
        await wait(2);
        pending--;
        return next < 5 ? { done: false as const, value: next++ } : { done: true as const, value: undefined };
      },
    }),
  };
  assert.deepEqual(await collect(prefetch(source, (i) => i, { ahead: 4 })), [0, 1, 2, 3, 4]);
});

test('looking less than one ahead is refused at once', () => {
  for (const ahead of [0, -1, 1.5, NaN])
    assert.throws(() => prefetch([], () => 1, { ahead }), { code: 'INPUT' });
});

test('being asked for more than there is takes no memory', async () => {
  for (const ahead of [2 ** 31, Number.MAX_SAFE_INTEGER])
    assert.deepEqual(await collect(prefetch([1, 2, 3], (i) => i * 2, { ahead })), [2, 4, 6]);
});
