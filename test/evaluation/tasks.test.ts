import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRetrievalPairs, readSts } from '../../lib/evaluation/tasks.js';
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

test('rows without a score are left out and counted, and fields can come in any order', async (t) => {
  const folder = await temporaryFolder(t);
  // As SemEval publishes them: the score, empty for pairs that were not judged, and two sentences.
  const tsv = join(folder, 'semeval.tsv');
  await writeFile(tsv, '4.2\tA "dog" runs.\tA dog\n\tNot judged.\tLeft out.\n1\tOne.\tTwo.\n');
  const expected = {
    first: ['A "dog" runs.', 'One.'],
    second: ['A dog', 'Two.'],
    scores: [4.2, 1],
    unscored: 1,
  };
  const header = ['score', 'sentence1', 'sentence2'];
  assert.deepEqual(await readSts(tsv, { header }), expected);
  const rows = [
    { a: 'A "dog" runs.', b: 'A dog', c: 4.2 },
    { a: 'Not judged.', b: 'Left out.', c: null },
    { a: 'One.', b: 'Two.', c: '1' },
  ];
  const jsonl = await writeRows(join(folder, 'rows.jsonl'), rows);
  assert.deepEqual(await readSts(jsonl, { columns: ['a', 'b', 'c'] }), expected);
  await assert.rejects(readSts(jsonl, { columns: ['a', 'b', 'd'] }), {
    code: 'INPUT',
    message: /none of its 3 rows has a score in the column "d"/,
  });
});

test('what is wrong in a file is named with its line', async (t) => {
  const folder = await temporaryFolder(t);
  const good = { sentence1: 'a', sentence2: 'b', score: 1 };
  const missing = await writeRows(join(folder, 'missing.jsonl'), [good, { sentence1: 'a', score: 2 }]);
  await assert.rejects(readSts(missing), {
    code: 'INPUT',
    message: /missing\.jsonl, line 2: it has no "sentence2".*--columns.*--fields/,
  });
  const word = await writeRows(join(folder, 'word.jsonl'), [good, { ...good, score: 'high' }]);
  await assert.rejects(readSts(word), {
    code: 'INPUT',
    message: /word\.jsonl, line 2: it has the score "high" in the column "score", not a number.*--fields/,
  });
  // Not the row's number: lines before it are blank, or part of others.
  const table = join(folder, 'word.csv');
  await writeFile(table, 'sentence1,sentence2,score\n\n"a\nb",c,1\na,b,\na,b,high\n');
  await assert.rejects(readSts(table), {
    code: 'INPUT',
    message: /word\.csv, line 6: it has the score "high"/,
  });
  await writeFile(table, '4.5,One.,Two.\n3,Three.,Four.\n');
  await assert.rejects(readSts(table), {
    code: 'INPUT',
    message: /word\.csv, line 1: there is no column.*--fields/,
  });
  await writeFile(table, 'sentence1,sentence2,grade\n\nOne.,Two.,3\n');
  await assert.rejects(readSts(table), {
    code: 'INPUT',
    message: /from line 3: none of its 1 rows.*--fields/,
  });
  const broken = join(folder, 'broken.jsonl');
  await writeFile(broken, '{"sentence1": \n');
  await assert.rejects(readSts(broken), { code: 'INPUT', message: /broken\.jsonl, line 1: it is not JSON/ });
});
