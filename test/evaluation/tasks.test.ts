import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRetrievalFolder, readRetrievalPairs, readSts } from '../../lib/evaluation/tasks.js';
import { temporaryFolder, writeRows } from '../training/support.js';

test('pairs become queries and documents, each text once', async (t) => {
  const path = await writeRows(join(await temporaryFolder(t), 'pairs.jsonl'), [
    { q: 'a', d: 'one' },
    { q: 'b', d: 'two' },
    { q: 'a', d: 'two' },
  ]);
  const task = await readRetrievalPairs(path, { columns: ['q', 'd'], documents: ['two', 'three'] });
  assert.deepEqual(task.queries, ['a', 'b']);
  assert.deepEqual(task.documents, ['one', 'two', 'three']);
  assert.deepEqual(
    task.relevant.map((grades) => [...grades]),
    [
      [
        [0, 1],
        [1, 1],
      ],
      [[1, 1]],
    ],
  );
  await assert.rejects(readRetrievalPairs(path, { columns: ['q'] }), { code: 'INPUT', message: /2 columns/ });
});

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
  for (const [line, message] of [
    ['q1\tgone\t2', /judges document gone/],
    ['gone\ty\t2', /judges query gone/],
    ['q1\ty\tyes', /score yes, not a number/],
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
});

test('scores of sentence pairs are read from CSV without a header and from numbers in JSON lines', async (t) => {
  const folder = await temporaryFolder(t);
  const csv = join(folder, 'test.csv');
  await writeFile(csv, 'A dog runs.,"A cat, asleep.",1.5\nOne,One,5\n');
  const expected = { first: ['A dog runs.', 'One'], second: ['A cat, asleep.', 'One'], scores: [1.5, 5] };
  assert.deepEqual(await readSts(csv, { columns: ['a', 'b', 'c'], header: false }), expected);
  const rows = expected.first.map((sentence1, row) => ({
    sentence1,
    sentence2: expected.second[row],
    score: expected.scores[row],
  }));
  assert.deepEqual(await readSts(await writeRows(join(folder, 'test.jsonl'), rows)), expected);
});

test('what is wrong in a file is named with its line', async (t) => {
  const folder = await temporaryFolder(t);
  const good = { sentence1: 'a', sentence2: 'b', score: 1 };
  const missing = await writeRows(join(folder, 'missing.jsonl'), [good, { sentence1: 'a', score: 2 }]);
  await assert.rejects(readSts(missing), {
    code: 'INPUT',
    message: /missing\.jsonl, line 2: it has no "sentence2"/,
  });
  const word = await writeRows(join(folder, 'word.jsonl'), [good, { ...good, score: 'high' }]);
  await assert.rejects(readSts(word), {
    code: 'INPUT',
    message: /Row 2 of .*word\.jsonl has the score high/,
  });
  const broken = join(folder, 'broken.jsonl');
  await writeFile(broken, '{"sentence1": \n');
  await assert.rejects(readSts(broken), { code: 'INPUT', message: /broken\.jsonl, line 1: it is not JSON/ });
});
