import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { evaluateReranking, flattenScores, readReranking, type RerankingQuery } from '../../lib/index.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { measureRanking } from '../../lib/evaluation/rank-measures.js';
import { temporaryFolder } from '../data/temporary-folder.js';

const close = (found: number, expected: number, what = '') =>
  assert.ok(Math.abs(found - expected) < 1e-12, `${what} ${found}, ${expected}`);

test('a ranking is measured by the ranks of its relevant candidates', () => {
  const { map, mrr, ndcg } = measureRanking([false, true, false, true], [4, 3, 2, 1], 10);
  close(map, (1 / 2 + 2 / 4) / 2);
  close(mrr, 1 / 2);
  close(ndcg, (1 / Math.log2(3) + 1 / Math.log2(5)) / (1 + 1 / Math.log2(3)));
  const cut = measureRanking([false, true, false, true], [4, 3, 2, 1], 1);
  assert.deepEqual([cut.mrr, cut.ndcg], [0, 0]);
  close(cut.map, map);
});

test('equal scores share their gains, and the later candidate counts as the first for MRR', () => {
  const { map, mrr, ndcg } = measureRanking([true, false, false], [1, 1, 0], 10);
  close(map, 1 / 2);
  close(mrr, 1 / 2);
  close(ndcg, (1 + 1 / Math.log2(3)) / 2);
  const all = measureRanking([true, false, true], [0, 0, 0], 2);
  close(all.map, 2 / 3);
  close(all.ndcg, 2 / 3);
});

/** Scores a pair by the number in its document. */
const byNumber = {
  asked: [] as (readonly [string, string])[],
  async predict(pairs: readonly (readonly [string, string])[]) {
    byNumber.asked.push(...pairs);
    return pairs.map(([, document]) => Number(document));
  },
};

test('candidates are positives and negatives, or the documents of a first stage', async () => {
  const queries: RerankingQuery[] = [
    { query: 'a', positive: ['3'], negative: ['5', '1'] },
    { query: 'b', positive: ['9', '2'], negative: ['4'] },
  ];
  const progress: number[][] = [];
  const scores = await evaluateReranking(
    byNumber,
    { queries },
    {
      block: 4,
      onProgress: (done, total) => progress.push([done, total]),
    },
  );
  assert.deepEqual(byNumber.asked.splice(0), [
    ['a', '3'],
    ['a', '5'],
    ['a', '1'],
    ['b', '9'],
    ['b', '2'],
    ['b', '4'],
  ]);
  assert.deepEqual(progress, [
    [4, 6],
    [6, 6],
  ]);
  close(scores.mrr, (1 / 2 + 1) / 2);
  assert.deepEqual([scores.queries, scores.documents, scores.firstStage], [2, 6, null]);
  const staged: RerankingQuery[] = [
    { query: 'a', positive: ['3', '8'], documents: ['5', '3', '1'] },
    { query: 'b', positive: ['7'], documents: ['6', '5'] },
  ];
  const whole = await evaluateReranking(byNumber, { queries: staged });
  assert.equal(whole.documents, 7);
  assert.deepEqual(whole.mrr, 1);
  close(whole.firstStage!.mrr, 1 / 4);
  const found = await evaluateReranking(byNumber, { queries: staged }, { alwaysRerankPositives: false });
  assert.equal(found.documents, 5);
  close(found.mrr, 1 / 4);
  assert.deepEqual(Object.keys(flattenScores(found)), [
    'map',
    'mrr@10',
    'ndcg@10',
    'base_map',
    'base_mrr@10',
    'base_ndcg@10',
  ]);
});

test('tasks, models and files that do not fit are refused', async (t) => {
  const good: RerankingQuery = { query: 'a', positive: ['3'], negative: ['5'] };
  const refused = (query: object, message: RegExp, code = 'INPUT') =>
    assert.rejects(evaluateReranking(byNumber, { queries: [query as RerankingQuery] }), { code, message });
  await refused({ ...good, positive: [] }, /queries\[0\].positive is \[\]/);
  await refused({ ...good, documents: ['1'] }, /both of negative and documents/);
  await refused({ query: 'a', positive: ['1'] }, /neither of negative and documents/);
  await refused({ ...good, query: 3 }, /queries\[0\].query is 3/);
  await refused({ ...good, negative: ['x'] }, /NaN/, 'NON_FINITE');
  await assert.rejects(evaluateReranking(byNumber, { queries: [] }), { code: 'INPUT' });
  const two = { predict: async () => [1, 2, 3, 4] };
  await assert.rejects(evaluateReranking(two, { queries: [good] }), {
    code: 'SHAPE',
    message: /4 scores for 2 pairs/,
  });
  await assert.rejects(evaluateReranking(byNumber, { queries: [good] }, { at: 0 }), { code: 'INPUT' });
  const path = join(await temporaryFolder(t), 'task.jsonl');
  const read = async (line: object, message: RegExp) => {
    await writeFile(path, `${JSON.stringify(good)}\n${JSON.stringify(line)}\n`);
    await assert.rejects(readReranking(path), { code: 'INPUT', message });
  };
  await read({ ...good, negative: 'x' }, /line 2: "negative" is "x", not a list of texts/);
  await read({ ...good, positive: 1 }, /line 2: "positive" is 1/);
  await read({ positive: 'a' }, /line 2: "query" is undefined/);
  await writeFile(path, `${JSON.stringify({ ...good, positive: '3' })}\n`);
  assert.deepEqual(await readReranking(path), { queries: [good] });
});

test('a text encoder ranks by its similarity, encodes each text once, and takes no prompt of pairs', async () => {
  const encoded: string[] = [];
  const encoder = {
    similarity: 'dot',
    encode: (texts: readonly string[]) => {
      encoded.push(...texts);
      return Promise.resolve(Tensor.from(texts.map(Number), { shape: [texts.length, 1] }));
    },
  };
  const queries = [
    { query: '1', positive: ['2'], negative: ['3', '1'] },
    { query: '-1', positive: ['1'], negative: ['3', '2'] },
    { query: '1', positive: ['3'], negative: ['2'] },
  ];
  const { map, mrr } = await evaluateReranking(encoder, { queries }, { block: 1 });
  close(map, (1 / 2 + 1 + 1) / 3);
  close(mrr, map);
  assert.deepEqual(encoded.toSorted(), ['-1', '1', '1', '2', '3']); // '1' as a query and as a document
  const far = await evaluateReranking(encoder, { queries }, { similarity: 'euclidean' });
  close(far.map, (1 / 2 + 1 + 1 / 2) / 3);
  await assert.rejects(evaluateReranking(encoder, { queries }, { prompt: 'query' }), {
    code: 'INPUT',
    message: /prompt is "query"; none for a text encoder/,
  });
  await assert.rejects(evaluateReranking(byNumber, { queries }, { similarity: 'dot' }), {
    code: 'INPUT',
    message: /similarity is "dot"; none for a model that scores pairs/,
  });
});
