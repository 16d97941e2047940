import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../lib/data/random.js';
import { roughRows } from '../../lib/evaluation/rough-rows.js';
import { search } from '../../lib/evaluation/search.js';
import type { Ranking } from '../../lib/evaluation/exact-search.js';
import { Shortlist } from '../../lib/evaluation/shortlist.js';
import { compareRows, scoreAll } from '../../lib/evaluation/similarity.js';
import { call } from '../../lib/tensor/operators.js';
import { SIMILARITIES, type Similarity } from '../../lib/options/similarity.js';
import { Tensor } from '../../lib/tensor/tensor.js';

function randomRows(rows: number, width: number, seed: number): number[][] {
  const random = new Random(seed);
  return Array.from({ length: rows }, () =>
    Array.from({ length: width }, () => random.below(2000) / 1000 - 1),
  );
}

function toTensor(rows: number[][], dtype: 'float32' | 'float64' = 'float64'): Tensor {
  return Tensor.from(Float64Array.from(rows.flat()), { shape: [rows.length, rows[0]!.length], dtype });
}

/** What every pair of rows gives, sorted: slow and plainly right. */
function bruteForce(queries: number[][], documents: number[][], k: number, similarity: Similarity) {
  const sum = (a: number[], b: number[], of: (x: number, y: number) => number): number =>
    a.reduce((total, value, index) => total + of(value, b[index]!), 0);
  const dot = (a: number[], b: number[]): number => sum(a, b, (x, y) => x * y);
  const score = {
    dot,
    cosine: (a: number[], b: number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)),
    euclidean: (a: number[], b: number[]) => -Math.sqrt(sum(a, b, (x, y) => (x - y) ** 2)),
    manhattan: (a: number[], b: number[]) => -sum(a, b, (x, y) => Math.abs(x - y)),
  }[similarity];
  return queries.map((query) =>
    documents
      .map((document, index) => ({ index, score: score(query, document) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, k),
  );
}

for (const similarity of SIMILARITIES) {
  test(`tiles and blocks find what comparing everything finds: ${similarity}`, async () => {
    const queries = randomRows(17, 8, 1);
    const documents = randomRows(101, 8, 2);
    const expected = bruteForce(queries, documents, 7, similarity);
    const blocks = [documents.slice(0, 3), documents.slice(3, 60), documents.slice(60)].map((rows) =>
      toTensor(rows),
    );
    for (const given of [toTensor(documents), blocks]) {
      const found = await search(toTensor(queries), given, {
        k: 7,
        similarity,
        tile: { queries: 5, documents: 10 },
      });
      assert.equal(found.k, 7);
      expected.flat().forEach(({ index, score }, place) => {
        assert.equal(found.documents[place], index);
        assert.ok(Math.abs(found.scores[place]! - score) < 1e-12);
      });
    }
    assert.ok(blocks.every((block) => block.disposed));
  });
}

/** Rows of float32 numbers, as an encoder gives them. */
function randomVectors(rows: number, width: number, seed: number): number[][] {
  return randomRows(rows, width, seed).map((row) => row.map(Math.fround));
}

for (const similarity of SIMILARITIES) {
  test(`a ranking and its scores do not depend on blocks and tiles: ${similarity}`, async () => {
    // Numbers of every size, and each document several times: 3 different ones at 40 places, and 20 that are equal.
    const queries = randomVectors(4, 100, 3);
    const different = randomVectors(4, 100, 4);
    const documents = [
      ...Array.from({ length: 40 }, (_, place) => different[place % 3]!),
      ...Array.from({ length: 20 }, () => different[3]!),
    ];
    let expected: Ranking | undefined;
    for (const block of [1, 7, 20, 60]) {
      for (const tile of [{}, { queries: 2, documents: 3 }]) {
        const blocks = Array.from({ length: Math.ceil(60 / block) }, (_, index) =>
          toTensor(documents.slice(index * block, (index + 1) * block), 'float32'),
        );
        const found = await search(toTensor(queries, 'float32'), blocks, { k: 30, similarity, tile });
        assert.deepEqual(found, (expected ??= found));
      }
    }
    for (let place = 1; place < expected!.scores.length; place++) {
      if (place % 30 === 0) continue;
      const [before, here] = [expected!.scores[place - 1]!, expected!.scores[place]!];
      assert.ok(before >= here);
      if (before === here) assert.ok(expected!.documents[place - 1]! < expected!.documents[place]!);
    }
    // 14, 13 and 13 copies of three, 20 of the fourth: the border of the 30 best goes through a tie.
    const scores = new Set(expected!.scores.subarray(0, 30));
    assert.ok(scores.size <= 3);
  });
}

test('equal documents are listed by place, wherever the border of the best lies among them', async () => {
  const documents = Array.from({ length: 500 }, (_, place) => [(place * 7) % 5, 1]);
  const queries = [
    [1, 0],
    [-1, 0],
    [0, 1],
  ];
  for (const k of [1, 99, 100, 101, 250, 300, 499, 500]) {
    const expected = bruteForce(queries, documents, k, 'dot')
      .flat()
      .map(({ index }) => index);
    const { documents: found } = await search(toTensor(queries), toTensor(documents), {
      k,
      similarity: 'dot',
    });
    assert.deepEqual([...found], expected, `k ${k}`);
  }
});

test('numbers of any size are compared exactly enough, and a row of zeros has the cosine 0', async () => {
  const rows = [
    [1e-20, 2e-20],
    [3e15, -1e15],
    [0, 0],
    [1e-3, 7e8],
  ];
  for (const [similarity, of] of [
    ['dot', (a: number[], b: number[]) => a[0]! * b[0]! + a[1]! * b[1]!],
    [
      'cosine',
      (a: number[], b: number[]) =>
        (a[0]! * b[0]! + a[1]! * b[1]!) / (Math.hypot(...a) * Math.hypot(...b) || 1),
    ],
  ] as const) {
    const { documents, scores } = await search(toTensor(rows), toTensor(rows), { k: 4, similarity });
    documents.forEach((document, place) => {
      const [a, b] = [rows[Math.floor(place / 4)]!, rows[document]!];
      const allowed = 1e-14 * (similarity === 'dot' ? Math.hypot(...a) * Math.hypot(...b) : 1);
      assert.ok(
        Math.abs(scores[place]! - of(a, b)) <= allowed,
        `${similarity} of ${a.join()} and ${b.join()}`,
      );
    });
  }
});

test('k beyond the number of documents lists all of them', async () => {
  const found = await search(
    toTensor([[1, 0]]),
    toTensor([
      [0, 1],
      [1, 1],
      [1, 0],
    ]),
    { k: 10, tile: { queries: 2, documents: 2 } },
  );
  assert.equal(found.k, 3);
  assert.deepEqual([...found.documents], [2, 1, 0]);
});

test('what cannot be searched is refused', async () => {
  const row = toTensor([[1, 0]]);
  await assert.rejects(search(row, toTensor([[1, 0, 0]]), { k: 1 }), { code: 'SHAPE' });
  await assert.rejects(search(row, [], { k: 1 }), { code: 'INPUT', message: /at least one document/ });
  await assert.rejects(search(row, row, { k: 0 }), { code: 'INPUT', message: /k is 0/ });
  const tile = { queries: 0, documents: 8 };
  await assert.rejects(search(row, row, { k: 1, tile }), { code: 'INPUT', message: /tile.queries is 0/ });
  const wrong = Tensor.from([NaN, 1], { shape: [1, 2], dtype: row.dtype });
  await assert.rejects(search(row, wrong, { k: 1 }), {
    code: 'NON_FINITE',
    message: /query 0 and document 0/,
  });
});

test('places beyond 2^24 are whole numbers too', async () => {
  const queries = Tensor.from([1], { shape: [1, 1] });
  const many = 2 ** 24;
  function* blocks(): Generator<Tensor> {
    // Rows of nothing, all of one element in memory.
    yield call('aten::expand', Tensor.from([0], { shape: [1, 1] }), [many, 1]);
    yield Tensor.from([0, 1], { shape: [2, 1] });
  }
  const tile = { queries: 1, documents: 2 ** 22 };
  const { documents } = await search(queries, blocks(), { k: 1, similarity: 'manhattan', tile });
  assert.deepEqual([...documents], [many + 1]);
});

/** The best of all exact scores, sorted plainly. */
async function allExact(
  queries: Tensor,
  documents: Tensor,
  k: number,
  similarity: Similarity,
): Promise<Ranking> {
  const first = await compareRows(queries, similarity, 'first');
  const second = await compareRows(documents, similarity, 'second');
  const scores = (await (await scoreAll(first, second, similarity)).values()) as Float64Array;
  const [rows, columns] = [queries.shape[0]!, documents.shape[0]!];
  const best = Array.from({ length: rows }, (_, row) => {
    const own = scores.subarray(row * columns, (row + 1) * columns);
    return Array.from(own, (score, place) => ({ score, place }))
      .sort((a, b) => b.score - a.score || a.place - b.place)
      .slice(0, k);
  }).flat();
  return {
    k: Math.min(k, columns),
    documents: Int32Array.from(best, ({ place }) => place),
    scores: Float64Array.from(best, ({ score }) => score),
  };
}

/** Rows that float32 products tell apart from no other: a row with one number changed in its last bit or two. */
function nearTies(row: number[], count: number): number[][] {
  const bits = new Int32Array(1);
  const number = new Float32Array(bits.buffer);
  return Array.from({ length: count }, (_, place) => {
    const near = [...row];
    const at = (place * 31) % row.length;
    number[0] = near[at]!;
    bits[0]! += (place % 5) - 2;
    near[at] = number[0];
    return near;
  });
}

const scaled = (row: number[], factor: number): number[] => row.map((value) => Math.fround(value * factor));

/** What makes it hard to tell the best by rough scores. Each is well below an eighth of 3,000 documents. */
const HARD: Readonly<Record<string, (query: number[], width: number) => number[][]>> = {
  'near ties': (query) => nearTies(query, 150),
  'near ties of the opposite and of other lengths': (query) => [
    ...nearTies(scaled(query, -1), 50),
    ...nearTies(scaled(query, 3), 50),
    ...nearTies(scaled(query, 1 / 3), 50),
  ],
  'equal documents': (query) => Array.from({ length: 150 }, () => query),
  'lengths of every size': (query) =>
    Array.from({ length: 100 }, (_, place) => scaled(query, 10 ** ((place % 40) / 2 - 10))),
  'rows of zeros': (query, width) => [...nearTies(query, 20), new Array<number>(width).fill(0)],
  'numbers near the limits of float32': (query) => [
    ...nearTies(query, 20),
    scaled(query, 1e37),
    scaled(query, 1e-37),
    scaled(query, 1e-44),
  ],
};

for (const [name, make] of Object.entries(HARD)) {
  test(`rough scores leave out nothing that exact ones list: ${name}`, async () => {
    for (const similarity of ['cosine', 'dot'] as const) {
      for (const width of [3, 96]) {
        const queries = randomVectors(9, width, 5);
        const documents = randomVectors(3000, width, 6);
        // Here and there among the others, so that every tile has some.
        make(queries[0]!, width).forEach((row, place) => (documents[(place * 17 + 5) % 3000] = row));
        const [asked, given] = [toTensor(queries, 'float32'), toTensor(documents, 'float32')];
        for (const k of [1, 40]) {
          const expected = await allExact(asked, given, k, similarity);
          for (const tile of [{}, { queries: 4, documents: 700 }, { documents: 1000 }]) {
            assert.deepEqual(await search(asked, given, { k, similarity, tile }), expected);
          }
          const blocks = [0, 1, 900, 2999].map((start, index, starts) =>
            toTensor(documents.slice(start, starts[index + 1]), 'float32'),
          );
          assert.deepEqual(await search(asked, blocks, { k, similarity }), expected);
        }
      }
    }
  });
}

test('of many documents only those that can be among the best are scored exactly', async () => {
  const [k, width] = [10, 96];
  const queries = toTensor(randomVectors(20, width, 7), 'float32');
  const documents = [8, 9, 10].map((seed) => toTensor(randomVectors(2000, width, seed), 'float32'));
  for (const similarity of ['cosine', 'dot'] as const) {
    const list = new Shortlist(k, null);
    for (const tile of documents)
      await list.add(await roughRows(queries, similarity), await roughRows(tile, similarity));
    let pairs = 0;
    for (const tile of documents.keys()) {
      const taken = await list.take(tile);
      pairs += taken?.first.shape[0] ?? Infinity;
    }
    assert.ok(pairs >= 20 * k && pairs < 20 * (k + 2), `${pairs} pairs`);
  }
});
