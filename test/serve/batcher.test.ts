import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { GradCacheError, Tensor } from '../../lib/index.js';
import { Batcher } from '../../lib/serve/batcher.js';
import { FairQueue } from '../../lib/serve/fair-queue.js';
import type { Chunk } from '../../lib/step/encoder.js';
import type { TokenBatch } from '../../lib/tokenizer/tokenizer.js';

const NOBODY = new AbortController().signal;

interface Item {
  readonly of: string;
  readonly tokens: number;
  readonly kind: number;
}

function queueOf(texts: Readonly<Record<string, readonly number[]>>): FairQueue<string, Item> {
  const queue = new FairQueue<string, Item>();
  for (const [of, lengths] of Object.entries(texts))
    for (const tokens of lengths) queue.add(of, { of, tokens, kind: 0 });
  return queue;
}

const taken = (queue: FairQueue<string, Item>, most: number): string =>
  queue
    .take(most)
    .map(({ of, tokens }) => `${of}${tokens}`)
    .join(' ');

test('requests take turns by tokens, and each keeps its order', () => {
  const queue = queueOf({ a: [4, 4, 4, 4], b: [2, 2, 2, 2] });
  assert.equal(taken(queue, 12), 'a4 b2 b2 a4');
  assert.deepEqual([queue.length, queue.tokens], [4, 12]);
  assert.equal(taken(queue, 100), 'b2 b2 a4 a4');
  assert.equal(taken(queue, 100), '');
});

test('who comes later is served next, and is not owed what others had before', () => {
  const queue = queueOf({ long: new Array<number>(50).fill(10) });
  for (let k = 0; k < 10; k++) taken(queue, 10);
  queue.add('short', { of: 'short', tokens: 10, kind: 0 });
  queue.add('short', { of: 'short', tokens: 10, kind: 0 });
  assert.equal(taken(queue, 40), 'short10 long10 short10 long10');
});

test('a text longer than a batch goes alone, and is the first of a batch before long', () => {
  const queue = queueOf({ a: [3, 3, 3, 3, 3, 3], b: [20, 1] });
  assert.equal(taken(queue, 10), 'a3 a3 a3', 'it does not fit beside others');
  assert.equal(taken(queue, 10), 'b20');
  assert.equal(taken(queue, 10), 'a3 a3 a3 b1');
});

test('things of two kinds are not in one batch', () => {
  const queue = new FairQueue<string, Item>();
  for (const kind of [0, 5]) queue.add(`${kind}`, { of: `kind ${kind}: `, tokens: 1, kind });
  assert.equal(taken(queue, 10), 'kind 0: 1');
  assert.equal(taken(queue, 10), 'kind 5: 1');
});

test('a request that is removed leaves nothing', () => {
  const queue = queueOf({ a: [3, 3, 3], b: [2] });
  assert.equal(taken(queue, 3), 'a3');
  assert.equal(queue.remove('a'), 2);
  assert.deepEqual([queue.length, queue.tokens, queue.remove('a')], [1, 2, 0]);
  assert.equal(taken(queue, 100), 'b2');
});

/** An encoder that gives a text the sum of its ids, and fails at a batch that holds the id 13. */
class Sums {
  readonly device = 'cpu';
  readonly batches: number[][] = [];

  async forwardChunk({ batch, rows }: Chunk<TokenBatch>) {
    await setImmediate();
    const sums = Array.from(rows, (row) =>
      batch.ids.slice(batch.offsets[row], batch.offsets[row + 1]).reduce((sum, id) => sum + id, 0),
    );
    this.batches.push(sums);
    if (batch.ids.includes(13)) throw new GradCacheError('INPUT', 'token 13 is none of this model');
    const representations = Tensor.from(sums, { shape: [sums.length, 1] });
    return { representations, ticket: { seed: 0, graph: null } };
  }
}

function setUp(): { encoder: Sums; batcher: Batcher; dropped: number[] } {
  const encoder = new Sums();
  const dropped: number[] = [];
  const batcher = new Batcher(encoder, 8, {
    onBatch: () => undefined,
    onDropped: (texts) => dropped.push(texts),
  });
  return { encoder, batcher, dropped };
}

/** Encodes lists of ids. */
async function sums(batcher: Batcher, lists: readonly number[][], signal = NOBODY): Promise<number[]> {
  const tokenize = async (begin: number, end: number): Promise<TokenBatch> => {
    const part = lists.slice(begin, end);
    const offsets = [0];
    for (const list of part) offsets.push(offsets.at(-1)! + list.length);
    return { ids: Int32Array.from(part.flat()), offsets: Int32Array.from(offsets), truncated: 0 };
  };
  const rows = await batcher.encode(lists.length, tokenize, signal);
  return rows.map(([sum]) => sum!);
}

test('texts of requests that come together are encoded together', async () => {
  const { encoder, batcher } = setUp();
  const all = await Promise.all([
    sums(batcher, [[1, 2], [3]]),
    sums(batcher, [[4, 5]]),
    sums(batcher, [[6]]),
  ]);
  assert.deepEqual(all, [[3, 3], [9], [6]]);
  assert.deepEqual(encoder.batches, [[3, 9, 6, 3]]);
  assert.deepEqual([batcher.texts, batcher.waitingTokens], [0, 0]);
});

test('a text that the model refuses fails its own request alone', async () => {
  const { batcher } = setUp();
  const [bad, good] = await Promise.allSettled([sums(batcher, [[1], [13]]), sums(batcher, [[2], [3]])]);
  assert.equal(bad.status, 'rejected');
  assert.match(String(bad.reason), /token 13/);
  assert.deepEqual(good, { status: 'fulfilled', value: [2, 3] });
  assert.deepEqual(await sums(batcher, [[7]]), [7], 'and the batcher goes on');
});

test('a request that failed leaves nothing in the queue, though its texts still come', async () => {
  const { encoder, batcher, dropped } = setUp();
  const many = [[13], ...Array.from({ length: 500 }, () => [1, 1, 1, 1])];
  await assert.rejects(sums(batcher, many), /token 13/);
  for (let turn = 0; turn < 20; turn++) await setImmediate();
  assert.deepEqual([batcher.texts, batcher.waitingTokens], [0, 0]);
  assert.ok(dropped[0]! > 0);
  assert.ok(encoder.batches.length < 30);
});

test('a signal takes what waits out of the queue', async () => {
  const { encoder, batcher, dropped } = setUp();
  const controller = new AbortController();
  const many = Array.from({ length: 200 }, () => [1, 1, 1, 1]);
  const ended = assert.rejects(sums(batcher, many, controller.signal), { code: 'ABORTED' });
  while (encoder.batches.length < 3) await setImmediate();
  controller.abort();
  await ended;
  assert.deepEqual([batcher.texts, batcher.waitingTokens], [0, 0]);
  assert.ok(dropped[0]! > 10);
  await assert.rejects(sums(batcher, [[1]], controller.signal), { code: 'ABORTED' });
});
