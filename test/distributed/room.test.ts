/** Room for the rows of all ranks is freed with the tensor that has it, also where memory runs out for another one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, RepresentationCache, Tensor } from '../../lib/index.js';
import { gatherRows } from '../../lib/distributed/gather-rows.js';
import type { Ranks } from '../../lib/distributed/ranks.js';
import { SharedRows } from '../../lib/step/shared-rows.js';

/** Rank 0 of two, of which the other has many rows. Nothing is exchanged. */
const ranks = {
  rank: 0,
  agree: (_: string, work: () => unknown) => Promise.resolve(work()),
  numbers: ([own]: number[]) => Promise.resolve([[own], [1e6]]),
  exchange: () => Promise.resolve(),
} as unknown as Ranks;

const rows = (): Tensor => Tensor.from(new Float32Array(16 * 16), { shape: [16, 16] });

test('rows of all ranks are freed when they are disposed', async () => {
  const all = await gatherRows(ranks, 'rows', () => Promise.resolve(rows()));
  assert.deepEqual(all.shape, [1_000_016, 16]);
  call('aten::zero_', all).dispose(); // now its pages are there
  const full = process.memoryUsage.rss();
  all.dispose();
  assert.ok(full - process.memoryUsage.rss() > 5e7);
});

test('where there is no room for a second tower, that of the first is freed', (t) => {
  const cache = new RepresentationCache([16, 16]);
  for (const tower of [0, 1]) {
    const own = rows();
    cache.put(
      tower,
      Int32Array.from({ length: 16 }, (_, row) => row),
      own,
    );
    own.dispose();
  }
  const freed: string[] = [];
  const dispose = Object.getOwnPropertyDescriptor(Tensor.prototype, 'dispose')!.value as () => void;
  t.mock.method(Tensor.prototype, 'dispose', function (this: Tensor) {
    freed.push(this.shape.join());
    dispose.call(this);
  });
  const shared = new SharedRows(ranks, cache);
  const noRoom = -100;
  const counts = [
    [16, 16],
    [32, noRoom],
  ];
  assert.throws(() => shared.reserve(counts));
  shared.dispose();
  assert.ok(freed.includes('48,16'));
  cache.dispose();
});
