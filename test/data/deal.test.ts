import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batches } from '../../lib/data/batches.js';
import { deal } from '../../lib/data/deal.js';
import { Random } from '../../lib/data/random.js';
import { collect } from './temporary-folder.js';

test('items are dealt by length, each once, and to one as many to each rank', () => {
  const random = new Random(3);
  for (const ranks of [1, 2, 3, 8]) {
    for (const count of [0, 1, ranks - 1, ranks, 3 * ranks + 2, 1000]) {
      const lengths = Array.from({ length: count }, () => Math.round(Math.exp(6 * random.uniform())));
      const dealt = deal(lengths, ranks);
      assert.deepEqual(
        dealt.flatMap((items) => [...items]).sort((a, b) => a - b),
        [...lengths.keys()],
      );
      const sizes = dealt.map(({ length }) => length);
      assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, sizes.join());
      for (const items of dealt)
        assert.deepEqual(
          [...items],
          [...items].sort((a, b) => a - b),
        );
      if (count < 1000) continue;
      const texts = dealt.map((items) => items.reduce((sum, item) => sum + lengths[item]!, 0));
      const mean = texts.reduce((a, b) => a + b) / ranks;
      assert.ok(Math.max(...texts) < 1.03 * mean, `${ranks} ranks: ${texts.join()}`);
    }
  }
  assert.deepEqual(deal([5, 1, 9, 1, 7], 2), [Uint32Array.of(1, 2, 3), Uint32Array.of(0, 4)]);
  assert.deepEqual(deal([2 ** 40, 1, 2 ** 50], 1), [Uint32Array.of(0, 1, 2)]);
});

test('ranks form the same batches, and each is given its own rows of them', async () => {
  const rows = Array.from({ length: 23 }, (_, i) => ({
    anchor: `a${i}`.repeat((i * 7) % 5),
    positive: `p${i}`.repeat(1 + ((i * 11) % 9)),
  }));
  const options = { size: 8, seed: 4, epochs: 2 };
  const alone = await collect(batches(rows, options));
  const shared = await Promise.all(
    [0, 1, 2].map((rank) => collect(batches(rows, { ...options, ranks: { rank, size: 3 } }))),
  );
  for (const [number, batch] of alone.entries()) {
    const own = shared.map((list) => list[number]!);
    for (const { total, epoch, index } of own)
      assert.deepEqual([total, epoch, index], [batch.size, batch.epoch, batch.index]);
    assert.deepEqual(
      own.flatMap(({ columns }) => columns.positive).sort(),
      [...batch.columns.positive].sort(),
    );
    for (const { columns, size } of own) {
      assert.equal(columns.anchor.length, size);
      // A pair stays whole.
      for (const [row, text] of columns.positive.entries())
        assert.equal(columns.anchor[row], batch.columns.anchor[batch.columns.positive.indexOf(text)]);
    }
  }
});

test('labels are numbered alike on all ranks, and a batch with fewer rows than ranks is left out', async () => {
  const rows = Array.from({ length: 10 }, (_, i) => ({ text: `t${i}`, label: `l${i % 4}` }));
  const label = { column: 'label', type: 'class' } as const;
  const options = { size: 4, shuffle: false, label };
  const numbers = new Map<string, number>();
  for (const rank of [0, 1, 2]) {
    const found = await collect(batches(rows, { ...options, ranks: { rank, size: 3 } }));
    assert.deepEqual(
      found.map(({ total }) => total),
      [4, 4], // not the last two rows
    );
    for (const { columns, labels } of found)
      for (const [row, text] of columns.text.entries()) numbers.set(text, Number(labels![row]));
  }
  assert.deepEqual(
    [...numbers.entries()].sort(),
    [0, 1, 2, 3, 4, 5, 6, 7].map((i) => [`t${i}`, i % 4]),
  );
  const ranks = { rank: 0, size: 5 };
  assert.throws(() => batches(rows, { ...options, ranks }), { code: 'INPUT', message: /at least 5/ });
  assert.throws(() => batches(rows, { ...options, ranks: { rank: 3, size: 3 } }), { code: 'INPUT' });
});
