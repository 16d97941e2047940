import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../lib/data/random.js';
import { search } from '../../lib/evaluation/search.js';
import { call } from '../../lib/operators.js';
import { Tensor } from '../../lib/tensor.js';

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
function bruteForce(queries: number[][], documents: number[][], k: number, similarity: 'cosine' | 'dot') {
  const dot = (a: number[], b: number[]): number =>
    a.reduce((sum, value, index) => sum + value * b[index]!, 0);
  const length = (a: number[]): number => (similarity === 'dot' ? 1 : Math.sqrt(dot(a, a)));
  return queries.map((query) =>
    documents
      .map((document, index) => ({ index, score: dot(query, document) / (length(query) * length(document)) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, k),
  );
}

for (const similarity of ['cosine', 'dot'] as const) {
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
  const queries = Tensor.from([1, 0], { shape: [1, 2] });
  const many = 2 ** 24;
  function* blocks(): Generator<Tensor> {
    // Rows of nothing, all of one element in memory.
    yield call('aten::expand', Tensor.from([0, 0], { shape: [1, 2] }), [many, 2]);
    yield Tensor.from([0, 0, 1, 0], { shape: [2, 2] });
  }
  const tile = { queries: 1, documents: 2 ** 22 };
  const { documents } = await search(queries, blocks(), { k: 1, similarity: 'dot', tile });
  assert.deepEqual([...documents], [many + 1]);
});
