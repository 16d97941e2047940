import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  binaryCrossEntropy,
  crossBatchMemory,
  distanceHead,
  gistEmbed,
  infoNCE,
  lambdaLoss,
  matryoshka,
  multiVectorMultipleNegativesRanking,
  splade,
  supCon,
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

test('keyword arguments that do not fit the rows of a rank are refused, though there are as many of all', () => {
  const two = (first: LossOptions, second: LossOptions) => [first, second];
  const cases: [LossWithGradients, LossOptions[], number[][], RegExp][] = [
    [binaryCrossEntropy(), two({ labels: [0, 1, 1] }, { labels: [0] }), [[2], [2]], /3 labels for 2 rows/],
    [
      lambdaLoss(),
      two({ lists: [2, 2], labels: [1, 0, 1, 0] }, { lists: [2], labels: [1, 0] }),
      [[3], [3]],
      /lists have 4 pairs in all, and there are 3/,
    ],
    // Of the first rank the third tower is as long as the others by chance.
    [
      supCon(),
      two({ labels: [0, 1] }, { labels: [0, 1, 1, 1] }),
      [
        [2, 2, 2],
        [3, 3, 1],
      ],
      /labels of the loss has 2 and 4 entries on the ranks/,
    ],
  ];
  for (const [loss, parts, rows, message] of cases)
    assert.throws(() => loss.joinOptions!(parts, rows), { message });
  const lists = [
    { lists: [2], labels: [1, 0] },
    { lists: [1, 3], labels: [1, 0, 0, 1] },
  ];
  assert.deepEqual(lambdaLoss().joinOptions!(lists, [[2], [4]]), {
    lists: [2, 1, 3],
    labels: [1, 0, 1, 0, 0, 1],
  });
  const labels = [{ labels: [0, 1, 5, 6] }, { labels: [2, 3, 4, 7] }];
  assert.deepEqual(supCon().joinOptions!(labels, ROWS), { labels: [0, 1, 2, 3, 4, 5, 6, 7] });
});
