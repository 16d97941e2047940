import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batches, lengthCurriculum, type Batch, type BatchOptions, type Row } from '../../lib/index.js';

/** Rows of two texts with as many letters as the numbers say. */
const rows = (pairs: readonly (readonly [number, number])[]): Row[] =>
  pairs.map(([a, b], place) => ({ anchor: letters(a, place), positive: letters(b, place + 0.5) }));

const letters = (count: number, place: number): string => String(place).padEnd(count, 'x').slice(0, count);

const lengthsOf = (all: readonly Row[]) => all.map((row) => Object.values(row).map(({ length }) => length));

async function collect(source: readonly Row[], options: BatchOptions): Promise<Batch[]> {
  const found: Batch[] = [];
  for await (const batch of batches(source, options)) found.push(batch);
  return found;
}

test('the greatest length grows by the same amount with each batch, and then stays', () => {
  const length = lengthCurriculum({ from: 10, to: 30, over: 5 });
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 100].map(length), [10, 14, 18, 22, 26, 30, 30, 30]);
  assert.deepEqual([0, 1, 2].map(lengthCurriculum({ from: 3, to: 3, over: 1 })), [3, 3, 3]);
  for (const options of [
    { from: 0, to: 3, over: 1 },
    { from: 4, to: 3, over: 1 },
    { from: 1, to: 3, over: 0 },
    {},
  ])
    assert.throws(() => lengthCurriculum(options as never), { code: 'INPUT' });
});

test('a batch ends with the row that fills it, and texts count as long as the batch lets them be', async () => {
  const source = rows([
    [5, 5],
    [20, 20],
    [5, 5],
    [20, 20],
    [5, 5],
    [20, 20],
    [5, 5],
    [20, 20],
    [5, 5],
    [5, 5],
  ]);
  const length = lengthCurriculum({ from: 6, to: 100, over: 2 });
  const found = await collect(source, {
    size: 100,
    shuffle: false,
    fill: { tokens: 40, measure: lengthsOf, length },
  });
  // 10 + 12 + 10 + 12 tokens of at most 6 a text; then at most 53; then at most 100.
  assert.deepEqual(
    found.map(({ size, tokens, length: most, index }) => [size, tokens, most, index]),
    [
      [4, 44, 6, 0],
      [2, 50, 53, 1],
      [2, 50, 100, 2],
      [2, 20, 100, 3],
    ],
  );
  const texts = found.flatMap(({ columns }) => columns.anchor!);
  assert.deepEqual(
    texts,
    source.map(({ anchor }) => anchor),
  );
  // Rows alone end a batch too, and without a length there is no limit.
  const three = await collect(source, {
    size: 3,
    shuffle: false,
    dropLast: true,
    fill: { tokens: 1000, measure: lengthsOf },
  });
  assert.deepEqual(
    three.map(({ size, tokens, length: most }) => [size, tokens, most]),
    [
      [3, 60, undefined],
      [3, 90, undefined],
      [3, 60, undefined],
    ],
  );
});

test('lengths go on growing in the next epoch, rows are measured once, and unique texts stay unique', async () => {
  const source = rows(Array.from({ length: 600 }, (_, row) => [4 + (row % 9), 4 + (row % 7)] as const));
  const repeated = [
    ...source,
    ...source.slice(0, 50).map((row) => ({ ...row, positive: `other ${row.positive}` })),
  ];
  const asked: number[] = [];
  const options: BatchOptions = {
    size: 64,
    seed: 3,
    epochs: 2,
    uniqueTexts: true,
    fill: {
      tokens: 300,
      measure: async (some) => {
        asked.push(some.length);
        return lengthsOf(some);
      },
      length: lengthCurriculum({ from: 5, to: 12, over: 30 }),
    },
  };
  const found = await collect(repeated, options);
  assert.equal(
    asked.reduce((sum, count) => sum + count),
    650,
  );
  assert.ok(asked.every((count) => count <= 256));
  for (const [place, { columns, length, size, tokens }] of found.entries()) {
    assert.equal(length, 5 + Math.floor((7 * Math.min(place, 30)) / 30), `batch ${place}`);
    const texts = Object.values(columns).flat();
    assert.equal(new Set(texts).size, texts.length);
    const counted = texts.reduce((sum, text) => sum + Math.min(text.length, length), 0);
    assert.equal(tokens, counted);
    assert.ok(tokens < 300 + 2 * 12 && size <= 64);
  }
  assert.equal(
    found.reduce((sum, { size }) => sum + size, 0),
    1300,
  );
  assert.deepEqual(await collect(repeated, options), found, 'the same seed, the same batches');
});

test('what is no filling is refused', async () => {
  for (const fill of [
    {},
    { tokens: 0, measure: lengthsOf },
    { tokens: 3 },
    { tokens: 3, measure: lengthsOf, length: 4 },
  ])
    assert.throws(() => batches([], { size: 2, fill: fill as never }), { code: 'INPUT', message: /fill/ });
  for (const wrong of [[], 3, [[1, 2.5]], [[-1]], [3]])
    await assert.rejects(
      collect(rows([[4, 4]]), { size: 2, fill: { tokens: 9, measure: () => wrong as never } }),
      { code: 'INPUT', message: /fill\.measure/ },
    );
});
