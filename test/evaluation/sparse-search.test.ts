import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  evaluateRetrieval,
  flattenScores,
  search,
  Tensor,
  type EncodesTexts,
  type SparseRows,
} from '../../lib/index.js';
import { searchSparse } from '../../lib/evaluation/sparse-search.js';

/** Dense rows, about a third of whose numbers are not 0; some rows are there twice, some hold zeros alone. */
function denseRows(rows: number, width: number, seed: number): Float32Array {
  const values = Float32Array.from({ length: rows * width }, (_, i) => {
    const drawn = Math.abs(Math.sin(i * 12.9898 + seed * 78.233) * 43_758.5453) % 1;
    return drawn < 0.3 ? Math.fround(drawn * 5) : 0;
  });
  for (let row = 7; row < rows; row += 7)
    values.copyWithin(row * width, (row - 3) * width, (row - 2) * width);
  for (let row = 5; row < rows; row += 11) values.fill(0, row * width, (row + 1) * width);
  return values;
}

function withoutZeros(values: Float32Array, width: number): SparseRows {
  const offsets = [0];
  const kept: number[] = [];
  const columns: number[] = [];
  for (let row = 0; row < values.length / width; row++) {
    for (let column = 0; column < width; column++) {
      const value = values[row * width + column]!;
      if (value === 0) continue;
      kept.push(value);
      columns.push(column);
    }
    offsets.push(kept.length);
  }
  return {
    values: Float32Array.from(kept),
    columns: Int32Array.from(columns),
    offsets: Int32Array.from(offsets),
    dimension: width,
  };
}

async function* blocksOf(values: Float32Array, width: number, size: number): AsyncIterable<SparseRows> {
  for (let start = 0; start < values.length; start += size * width) {
    await Promise.resolve();
    yield withoutZeros(values.slice(start, start + size * width), width);
  }
}

test('sparse search ranks as dense search does, whatever the blocks', async () => {
  const width = 19;
  const [queries, documents] = [denseRows(23, width, 1), denseRows(90, width, 2)];
  for (const similarity of ['dot', 'cosine'] as const)
    for (const k of [1, 10, 90, 200]) {
      const expected = await search(
        Tensor.from(queries, { shape: [23, width] }),
        Tensor.from(documents, { shape: [90, width] }),
        { k, similarity },
      );
      const rankings = [];
      for (const block of [1, 8, 33, 90]) {
        const how = { k, similarity, signal: undefined };
        const found = await searchSparse(
          withoutZeros(queries, width),
          blocksOf(documents, width, block),
          how,
        );
        rankings.push(found);
        assert.equal(found.k, expected.k);
        for (const [place, score] of expected.scores.entries())
          assert.ok(Math.abs(found.scores[place]! - score) <= 1e-9, `${similarity} ${k}`);
        assert.deepEqual(found.documents, expected.documents, `${similarity}, k ${k}, blocks of ${block}`);
      }
      for (const other of rankings) assert.deepEqual(other, rankings[0]);
    }
});

test('values that are not finite, and a signal, end a sparse search', async () => {
  const good = withoutZeros(denseRows(6, 9, 1), 9);
  const bad = { ...good, values: good.values.map((value, place) => (place === 3 ? NaN : value)) };
  const blocks = (rows: SparseRows) =>
    (async function* () {
      await Promise.resolve();
      yield rows;
    })();
  const how = { k: 3, similarity: 'dot', signal: undefined } as const;
  await assert.rejects(searchSparse(bad, blocks(good), how), { code: 'NON_FINITE', message: /query \d/ });
  await assert.rejects(searchSparse(good, blocks(bad), how), { code: 'NON_FINITE', message: /document \d/ });
  const many = withoutZeros(denseRows(4000, 60, 1), 60);
  const signal = AbortSignal.timeout(30);
  await assert.rejects(searchSparse(many, blocks(many), { ...how, signal }), { code: 'ABORTED' });
});

test('retrieval takes the representations of a sparse encoder without their zeros', async () => {
  const width = 16;
  const texts = new Map<string, number>();
  const all = denseRows(60, width, 3);
  const rowsOf = (list: readonly string[]): Float32Array => {
    const rows = new Float32Array(list.length * width);
    for (const [k, text] of list.entries()) {
      if (!texts.has(text)) texts.set(text, texts.size);
      rows.set(all.subarray(texts.get(text)! * width, (texts.get(text)! + 1) * width), k * width);
    }
    return rows;
  };
  const dense: EncodesTexts = {
    similarity: 'dot',
    encode: async (list) => Promise.resolve(Tensor.from(rowsOf(list), { shape: [list.length, width] })),
  };
  const sparse: EncodesTexts = {
    ...dense,
    sparse: true,
    encodeSparse: async (list) => Promise.resolve(withoutZeros(rowsOf(list), width)),
  };
  const task = {
    queries: Array.from({ length: 12 }, (_, k) => `query ${k}`),
    documents: Array.from({ length: 40 }, (_, k) => `document ${k % 35}`),
    relevant: Array.from({ length: 12 }, (_, k) => new Map([[k * 3, 1]])),
  };
  const progress: number[] = [];
  const { activeDimensions, ...scores } = await evaluateRetrieval(sparse, task, {
    block: 10,
    onProgress: (done, total) => progress.push(done, total),
  });
  assert.deepEqual(scores, await evaluateRetrieval(dense, task));
  assert.deepEqual(progress, [12, 47, 22, 47, 32, 47, 42, 47, 47, 47]);
  const active = (from: number, to: number) =>
    all.subarray(from * width, to * width).filter((value) => value !== 0).length / (to - from);
  assert.deepEqual(activeDimensions, { queries: active(0, 12), documents: active(12, 47) });
  const flat = flattenScores({ ...scores, activeDimensions: activeDimensions });
  assert.equal(flat['document-active-dims'], activeDimensions.documents);

  for (const options of [{ similarity: 'euclidean' }, { dimensions: 4 }] as const)
    await assert.rejects(evaluateRetrieval(sparse, task, options), { code: 'INPUT' });
  const short = { ...sparse, encodeSparse: async () => Promise.resolve(withoutZeros(rowsOf(['a']), width)) };
  await assert.rejects(evaluateRetrieval(short, task), { code: 'SHAPE', message: /1 rows for 12 texts/ });
});
