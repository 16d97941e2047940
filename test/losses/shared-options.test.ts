import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  crossBatchMemory,
  distanceHead,
  gistEmbed,
  infoNCE,
  matryoshka,
  multiVectorMultipleNegativesRanking,
  splade,
  type Loss,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';

/** Losses that have another within, and hand it keyword arguments. */
const AROUND: Record<string, (loss: Loss) => LossWithGradients> = {
  crossBatchMemory: (loss) => crossBatchMemory(loss, { capacity: 4 }),
  matryoshka: (loss) => matryoshka(loss, { dimensions: [2] }),
  splade: (loss) => splade(loss, { documentRegularizerWeight: 1 }),
};

/** Of two ranks with three towers each. */
const ROWS = [
  [2, 2, 2],
  [3, 3, 1],
];

const NUMBERS: LossOptions[] = [
  { targets: [0, 3], owners: [1, -1], weights: [1, 2] },
  { targets: [1, [2, 3], 0], owners: [2], weights: [3, 4, 5] },
];

test('a loss within another says how its keyword arguments are joined over ranks', () => {
  const texts = ROWS.map((rows, rank) => ({
    texts: rows.map((count, tower) => Array.from({ length: count }, (_, row) => `${rank} ${tower} ${row}`)),
  }));
  const guide = { encode: () => Promise.reject(new Error('not reached')) };
  const cases: [string, () => LossWithGradients, LossOptions[]][] = [
    ['numbers of rows', () => infoNCE(), NUMBERS],
    ['texts of a guide', () => gistEmbed({ guide: guide as never }), texts],
  ];
  for (const [title, make, parts] of cases)
    for (const [name, around] of Object.entries(AROUND))
      assert.deepEqual(
        around(make()).joinOptions?.(parts, ROWS),
        make().joinOptions!(parts, ROWS),
        `${name}, ${title}`,
      );
});

test('numbers of rows of a rank become those among the rows of all', () => {
  const head = distanceHead({ forward: (a, b) => a.matmul(b.t()), parameters: () => [] });
  for (const loss of [infoNCE(), head, multiVectorMultipleNegativesRanking()])
    assert.deepEqual(loss.joinOptions?.(NUMBERS, ROWS), {
      targets: [0, 5 + 1, 2 + 1, [2 + 2, 5 + 2], 2],
      owners: [1, -1, 2 + 2],
      weights: [1, 2, 3, 4, 5],
    });
});

test('a loss within another that says nothing has its lists joined row by row', () => {
  for (const [name, around] of Object.entries(AROUND)) {
    const loss = around(() => {
      throw new Error('not reached');
    });
    const parts = [{ places: [0, 1] }, { places: [0, 1, 2] }];
    const joined = loss.joinOptions?.(parts, ROWS);
    assert.deepEqual(joined, { places: [0, 1, 0, 1, 2] }, name);
  }
});
