import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRetrievalFolder } from '../../lib/evaluation/beir.js';
import type { EncodesTexts } from '../../lib/evaluation/encode-texts.js';
import { evaluateRetrieval } from '../../lib/evaluation/retrieval.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { temporaryFolder, writeRows } from '../training/support.js';

type Ids = Record<string, string>;

/** Files of a task: texts by id, and judgements as `query document grade`. */
async function files(folder: string, queries: Ids, corpus: Ids, judged: readonly string[]) {
  const rows = (texts: Ids) => Object.entries(texts).map(([_id, text]) => ({ _id, text }));
  const judgements = join(folder, 'test.tsv');
  const lines = ['query-id corpus-id score', ...judged].map((line) => line.replaceAll(' ', '\t'));
  await writeFile(judgements, `${lines.join('\n')}\n`);
  return {
    queries: await writeRows(join(folder, 'queries.jsonl'), rows(queries)),
    corpus: await writeRows(join(folder, 'corpus.jsonl'), rows(corpus)),
    judgements,
  };
}

/** Texts are numbers; the empty one is far from all. */
const NUMBERS: EncodesTexts = {
  encode: (texts) =>
    Promise.resolve(
      Tensor.from(
        Float64Array.from(texts, (text) => (text === '' ? 1e6 : Number(text))),
        {
          shape: [texts.length, 1],
        },
      ),
    ),
};

test('the layout of BEIR: titles, numeric ids, grades, and queries without judgements', async (t) => {
  const folder = await temporaryFolder(t);
  const corpus = await writeRows(join(folder, 'corpus.jsonl'), [
    { _id: 10, title: 'Cats', text: 'They purr.' },
    { _id: 'x', title: '', text: 'No title.' },
    { _id: 'y', text: 'Nor here.' },
    { _id: 'z', title: 'A title alone', text: '' },
  ]);
  const queries = await writeRows(join(folder, 'queries.jsonl'), [
    { _id: 'q1', text: 'what purrs' },
    { _id: 'q2', text: 'never judged' },
    { _id: 'q3', text: 'judged as wrong' },
  ]);
  const judgements = join(folder, 'test.tsv');
  await writeFile(judgements, 'query-id\tcorpus-id\tscore\nq1\t10\t2\nq1\ty\t1\nq3\tx\t0\n');
  const task = await readRetrievalFolder({ queries, corpus, judgements });
  assert.deepEqual(task.documents, ['Cats They purr.', 'No title.', 'Nor here.', 'A title alone']);
  assert.deepEqual(task.queries, ['what purrs']);
  assert.deepEqual(
    [...task.relevant[0]!],
    [
      [0, 2],
      [2, 1],
    ],
  );
  assert.deepEqual(task.counts, {
    emptyDocuments: 0,
    emptyQueries: 0,
    missingDocuments: 0,
    unjudgedQueries: 2,
    unknownQueries: 0,
  });
  for (const [line, message] of [
    ['q1\ty\tyes', /score yes, not a number/],
    ['q1\ty\t0', /judges no document above 0 for any query/],
    ['gone\ty\t2', /judges no document above 0 for any query/],
  ] as const) {
    await writeFile(judgements, `query-id\tcorpus-id\tscore\n${line}\n`);
    await assert.rejects(readRetrievalFolder({ queries, corpus, judgements }), { code: 'INPUT', message });
  }
  await writeRows(corpus, [
    { _id: 'x', text: 'One.' },
    { _id: 'x', text: 'Two.' },
  ]);
  await assert.rejects(readRetrievalFolder({ queries, corpus, judgements }), {
    code: 'INPUT',
    message: /two documents with the _id x/,
  });
  await writeRows(corpus, [{ _id: 'x', contents: 'One.' }]);
  await assert.rejects(readRetrievalFolder({ queries, corpus, judgements }), {
    code: 'INPUT',
    message: /x has neither a "text" nor a "title"/,
  });
});

test('judgements are read by the names of BEIR, and by position where the header is another or missing', async (t) => {
  const paths = await files(await temporaryFolder(t), { q1: '1', q2: '2' }, { x: '1', y: '2' }, []);
  const expected = [
    [[0, 2]],
    [
      [1, 1],
      [0, 3],
    ],
  ];
  const lines = ['q1 x 2', 'q1 y 0', 'q2 y 1', 'q2 x 3'];
  const trec = lines.map((line) => line.replace(' ', ' 0 '));
  const swapped = lines.map((line) => line.split(' ').reverse().join(' '));
  for (const end of ['\n', '\r\n', '\r'])
    for (const content of [
      ['query-id corpus-id score', ...lines],
      ['score corpus-id query-id', ...swapped],
      ['"query-id" "corpus-id" "score"', ...lines.map((line) => line.replace('q1', '"q1"'))],
      ['qid pid rel', ...lines],
      ['', ...lines, ''],
      trec,
      ['qid iter docid rel', ...trec],
    ])
      for (const separator of ['\t', ' ', '  ']) {
        if (separator === '  ' && content[0]!.startsWith('"')) continue;
        await writeFile(paths.judgements, content.map((line) => line.replaceAll(' ', separator)).join(end));
        const { relevant } = await readRetrievalFolder(paths);
        assert.deepEqual(
          relevant.map((documents) => [...documents]),
          expected,
          content[0],
        );
      }
  for (const [content, message] of [
    ['q1\tx\n', /test\.tsv, line 1: it has 2 fields; query, document and score/],
    ['q1\tx\t1\n\nq2\ty\n', /line 3: it has 2 fields, fewer/],
    ['q1\tx\t1\nq2\ty\tyes\n', /line 2.*score yes, not a number/],
    ['q1\tx\t1\nq2\ty\t\n', /line 2.*not a number/],
    ['qid\tpid\trel\n', /there is no judgement in it/],
    ['', /there is no judgement in it/],
    ['version https://git-lfs.github.com/spec/v1\n', /Git LFS/],
  ] as const) {
    await writeFile(paths.judgements, content);
    await assert.rejects(readRetrievalFolder(paths), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'INPUT');
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /--(no-header|columns|format|quoting|fields)/);
      return true;
    });
  }
});

test('empty texts are encoded; what is missing counts as not found; what nobody asked is left out, and all is counted', async (t) => {
  // Cranfield judges documents that its corpus lacks, and has an empty one; FiQA has many.
  const paths = await files(
    await temporaryFolder(t),
    { a: '1', b: '5', c: '', d: '7', e: '9' },
    { x: '1', y: '5', z: '', w: '6' },
    ['a x 1', 'a gone 2', 'b y 1', 'b away 0', 'c z 1', 'd x 0', 'stranger x 1'],
  );
  const task = await readRetrievalFolder(paths);
  assert.deepEqual(task.counts, {
    emptyDocuments: 1,
    emptyQueries: 1,
    missingDocuments: 1,
    unjudgedQueries: 2,
    unknownQueries: 1,
  });
  assert.deepEqual(
    [task.queries, task.documents],
    [
      ['1', '5', ''],
      ['1', '5', '', '6'],
    ],
  );
  const scores = await evaluateRetrieval(NUMBERS, task, { recallAt: [1], similarity: 'manhattan' });
  // pytrec_eval-terrier 0.5.11 gives recall_1 of 0.5, 1 and 1, and ndcg_cut_10 of 0.38009376671593426, 1 and 1.
  assert.equal(scores.recall[1], (0.5 + 1 + 1) / 3);
  assert.ok(Math.abs(scores.ndcg10 - (0.38009376671593426 + 2) / 3) < 1e-12);
});

test('a document with the id of the query is not ranked for it, as in BEIR', async (t) => {
  // ArguAna's queries are themselves documents. What answers 1 is 2; 1 itself would come first.
  const paths = await files(
    await temporaryFolder(t),
    { one: '1', two: '2' },
    { one: '1', two: '2', three: '4' },
    ['one two 1', 'two one 1', 'two two 1'],
  );
  const task = await readRetrievalFolder(paths);
  const scores = await evaluateRetrieval(NUMBERS, task, { recallAt: [1, 2, 3], similarity: 'euclidean' });
  assert.equal(scores.mrr10, 1);
  // Judged as relevant to itself, it still counts among what there is to find, as for pytrec_eval.
  assert.deepEqual(scores.recall, { 1: (1 + 0.5) / 2, 2: (1 + 0.5) / 2, 3: (1 + 0.5) / 2 });
  assert.ok(Math.abs(scores.ndcg10 - (1 + 0.6131471927654584) / 2) < 1e-12);
});
