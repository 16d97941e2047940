import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { batches } from '../../lib/data/batches.js';
import type { Batch, BatchOptions } from '../../lib/data/batches.js';
import { prefetch } from '../../lib/data/prefetch.js';
import { Random } from '../../lib/data/random.js';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { Row } from '../../lib/data/row.js';
import { shuffle } from '../../lib/data/shuffle.js';
import { collect, temporaryFolder } from './temporary-folder.js';

const rows: Row[] = Array.from({ length: 10 }, (_, i) => ({ anchor: `a${i}`, positive: `p${i}` }));
const rowsOf = ({ columns, size }: Batch) =>
  Array.from({ length: size }, (_, i) =>
    Object.fromEntries(Object.entries(columns).map(([name, texts]) => [name, texts[i]!])),
  );
const key = (row: Row) => Object.values(row).join('\0');

test('without shuffling, rows come in their order, the last batch smaller or left out', async () => {
  const all = await collect(batches(rows, { size: 4, shuffle: false }));
  assert.deepEqual(
    all.map(({ size, epoch, index }) => [size, epoch, index]),
    [
      [4, 0, 0],
      [4, 0, 1],
      [2, 0, 2],
    ],
  );
  assert.deepEqual(all.flatMap(rowsOf), rows);
  assert.deepEqual(all[0]!.columns.anchor, ['a0', 'a1', 'a2', 'a3']);
  assert.deepEqual(Object.keys(all[0]!.columns), ['anchor', 'positive']);
  const full = await collect(batches(rows, { size: 4, shuffle: false, dropLast: true }));
  assert.deepEqual(
    full.map(({ size }) => size),
    [4, 4],
  );
  assert.equal((await collect(batches(rows, { size: 5, dropLast: true }))).length, 2);
});

test('every epoch has all rows in an order of its own, the same for the same seed', async () => {
  for (const shuffle of [true, { buffer: 4 }]) {
    const run = batches(rows, { size: 3, seed: 5, epochs: 3, shuffle });
    const all = await collect(run);
    assert.deepEqual(await collect(run), all);
    assert.notDeepEqual(await collect(batches(rows, { size: 3, seed: 6, epochs: 3, shuffle })), all);
    const epochs = [0, 1, 2].map((epoch) => all.filter((batch) => batch.epoch === epoch));
    for (const batchesOfEpoch of epochs) {
      assert.deepEqual(
        batchesOfEpoch.map(({ index }) => index),
        [0, 1, 2, 3],
      );
      assert.deepEqual(batchesOfEpoch.flatMap(rowsOf).map(key).sort(), rows.map(key).sort());
    }
    assert.notDeepEqual(epochs[0]!.flatMap(rowsOf), epochs[1]!.flatMap(rowsOf));
    // An epoch does not depend on how many came before it or will come after it.
    assert.deepEqual(await collect(batches(rows, { size: 3, seed: 5, epochs: 1, shuffle })), epochs[0]);
  }
});

test('a file is as good a source as an array', async (t) => {
  const path = join(await temporaryFolder(t), 'pairs.jsonl');
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  for (const shuffle of [true, false, { buffer: 3 }]) {
    const options = { size: 3, epochs: 2, seed: 9, shuffle };
    assert.deepEqual(await collect(batches(readPairs(path), options)), await collect(batches(rows, options)));
  }
});

test('unique texts: no two rows of a batch share a text, and every row comes once', async () => {
  const random = new Random(4);
  for (let round = 0; round < 60; round++) {
    const vocabulary = 2 + random.below(30);
    const text = () => `t${random.below(vocabulary)}`;
    const source: Row[] = Array.from({ length: 1 + random.below(80) }, () => ({
      anchor: text(),
      positive: text(),
      negative: text(),
    }));
    const size = 1 + random.below(8);
    const options = { size, seed: round, epochs: 2, uniqueTexts: true };
    const all = await collect(batches(source, options));
    assert.deepEqual(await collect(batches(source, options)), all);
    for (const batch of all) {
      assert.ok(batch.size <= size);
      const seen = new Set<string>();
      for (const row of rowsOf(batch)) {
        const own = new Set(Object.values(row));
        for (const each of own) assert.ok(!seen.has(each), `${each} twice in a batch`);
        own.forEach((each) => seen.add(each));
      }
    }
    for (const epoch of [0, 1]) {
      const given = all.filter((batch) => batch.epoch === epoch).flatMap(rowsOf);
      assert.deepEqual(given.map(key).sort(), source.map(key).sort());
    }
    const full = await collect(batches(source, { ...options, dropLast: true })).catch(() => []);
    assert.ok(full.every((batch) => batch.size === size));
  }
});

test('unique texts: a row that waits comes before newer rows where it can', async () => {
  const pair = (anchor: string, positive: string): Row => ({ anchor, positive });
  const source = [
    pair('a', '1'),
    pair('a', '2'),
    pair('b', '3'),
    pair('c', '4'),
    pair('2', '5'),
    pair('d', '6'),
  ];
  const all = await collect(batches(source, { size: 2, shuffle: false, uniqueTexts: true }));
  assert.deepEqual(
    all.map((batch) => rowsOf(batch).map(key)),
    [
      ['a\0' + '1', 'b\0' + '3'],
      ['a\0' + '2', 'c\0' + '4'],
      ['2\0' + '5', 'd\0' + '6'],
    ],
  );
});

test('unique texts: one text in every row is slow for nobody', async () => {
  const source: Row[] = Array.from({ length: 20_000 }, (_, i) => ({ anchor: 'the same', positive: `p${i}` }));
  const begin = process.cpuUsage();
  let count = 0;
  for await (const batch of batches(source, { size: 64, uniqueTexts: true })) count += batch.size;
  assert.equal(count, source.length);
  assert.ok(process.cpuUsage(begin).user < 5e6);
});

test('bad options and bad rows are INPUT errors', async () => {
  const refused: unknown[] = [
    { size: 0 },
    { size: 1.5 },
    {},
    { size: 1, epochs: 0 },
    { size: 1, seed: -1 },
    { size: 1, shuffle: { buffer: 0 } },
    { size: 1, shuffle: 'yes' },
    { size: 1, shuffle: null },
    { size: 1, dropLast: 1 },
    { size: 1, uniqueTexts: 'no' },
  ];
  for (const options of refused) {
    assert.throws(() => batches(rows, options as BatchOptions), { code: 'INPUT' }, JSON.stringify(options));
  }
  for (const source of [null, 3, {}])
    assert.throws(() => batches(source as unknown as Row[], { size: 1 }), { code: 'INPUT' });
  const bad: [unknown[], RegExp][] = [
    [[], /no rows/],
    [[rows[0], { anchor: 'a' }], /columns "anchor"; the first row has "anchor", "positive"/],
    [[rows[0], { anchor: 'a', positive: 3 }], /Row 1: "positive" is 3/],
    [[['a', 'b']], /Row 0 is \["a","b"\]/],
    [[null], /Row 0 is null/],
    [[{}], /Row 0 has no columns/],
  ];
  for (const [source, message] of bad) {
    await assert.rejects(collect(batches(source as Row[], { size: 8, shuffle: false })), {
      code: 'INPUT',
      message,
    });
  }
  await assert.rejects(collect(batches(rows, { size: 11, dropLast: true })), {
    code: 'INPUT',
    message: /fewer than a batch/,
  });
});

test('a source that can be read only once serves one epoch, or several where all rows are held', async () => {
  const once = function* generate() {
    yield* rows;
  };
  assert.equal((await collect(batches(once(), { size: 5, epochs: 2 }))).length, 4);
  assert.equal((await collect(batches(once(), { size: 5, shuffle: false }))).length, 2);
  assert.throws(() => batches(once(), { size: 5, epochs: 2, shuffle: false }), {
    code: 'INPUT',
    message: /only once/,
  });
});

test('dropLast with different texts: rows that wait fill the batches that follow', async () => {
  const rows = [
    { anchor: 'a', positive: 'b' },
    { anchor: 'a', positive: 'c' },
    { anchor: 'b', positive: 'd' },
  ];
  const settings = { size: 2, shuffle: false, uniqueTexts: true, dropLast: true } as const;
  const all = await collect(batches(rows, settings));
  assert.deepEqual(
    all.map(({ columns }) => columns.anchor),
    [['a', 'b']],
  );
});

test('options and sources of a wrong type are INPUT errors, whatever they are', async () => {
  const odd: unknown[] = [
    null,
    1,
    'x',
    Symbol('s'),
    10n,
    true,
    NaN,
    { a: 1 },
    Object.create(null),
    new Map(),
    () => 1,
  ];
  const few = [{ a: 'b' }];
  const calls: Record<string, (value: never) => unknown> = {
    'batches options': (value) => batches(few, value),
    'batches source': (value) => batches(value, { size: 2 }),
    'batches row': (value) => batches([value], { size: 2 }),
    'shuffle options': (value) => shuffle(few, value),
    'shuffle source': (value) => shuffle(value),
    'prefetch options': (value) => prefetch(few, (row) => row, value),
    'prefetch source': (value) => prefetch(value, (row) => row),
    'prefetch map': (value) => prefetch(few, value),
    'readPairs options': (value) => readPairs('missing.csv', value),
    'readPairs path': (value) => readPairs(value),
  };
  for (const name of ['size', 'seed', 'epochs', 'shuffle', 'dropLast', 'uniqueTexts'])
    calls[`batches ${name}`] = (value) => batches(few, { size: 2, [name]: value });
  for (const name of ['seed', 'epoch', 'buffer'])
    calls[`shuffle ${name}`] = (value) => shuffle(few, { [name]: value });
  for (const name of ['columns', 'format', 'header', 'quoting', 'onBadLine', 'onSkip', 'signal'])
    calls[`readPairs ${name}`] = (value) => readPairs('missing.csv', { [name]: value });
  for (const [name, call] of Object.entries(calls)) {
    for (const value of odd) {
      const use = async () => collect(call(value as never) as AsyncIterable<unknown>);
      await use().catch((error: Error & { code?: string }) => {
        assert.equal(error.code, 'INPUT', `${name}: ${error.stack}`);
      });
    }
  }
});
