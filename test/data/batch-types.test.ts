/** What the compiler knows of the columns of a batch: each `@ts-expect-error` stands where a mistake must be told. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { batches, readPairs, type Row } from '../../lib/index.js';
import { temporaryFolder } from './temporary-folder.js';

test('columns that are named are those of the batch, and others are unknown', async (t) => {
  const file = join(await temporaryFolder(t), 'pairs.jsonl');
  await writeFile(file, '{"anchor": "a", "positive": "b", "score": 1}\n'.repeat(2));

  const pairs = readPairs(file, { columns: ['anchor', 'positive'] });
  for await (const { columns } of batches(pairs, { size: 2 })) {
    const anchors: string[] = columns.anchor;
    assert.deepEqual(
      [anchors, columns.positive],
      [
        ['a', 'a'],
        ['b', 'b'],
      ],
    );
    // @ts-expect-error no such column
    assert.equal(columns.negative, undefined);
  }

  const label = { column: 'score' } as const;
  const scored = readPairs(file, { columns: ['anchor', 'positive'], label });
  for await (const { columns, labels } of batches(scored, { size: 2, label })) {
    assert.deepEqual(
      [columns.positive, labels],
      [
        ['b', 'b'],
        [1, 1],
      ],
    );
    // @ts-expect-error the label is no column of texts
    assert.equal(columns.score, undefined);
  }

  const ids = ['score'] as const;
  const identified = readPairs(file, { columns: ['anchor', 'positive'], ids });
  for await (const { columns, ids: found } of batches(identified, { size: 2, ids })) {
    assert.deepEqual(
      [columns.positive, found],
      [
        ['b', 'b'],
        [['1'], ['1']],
      ],
    );
    // @ts-expect-error ids are no column of texts
    assert.equal(columns.score, undefined);
  }

  // Which columns a file has without any being named is known when it is read.
  const some = readPairs(file);
  for await (const { columns } of batches(some, { size: 2 })) assert.equal(columns['anchor']?.length, 2);

  const rows = [{ question: 'a', answer: 'b' }] as const;
  for await (const { columns } of batches(rows, { size: 1 })) assert.deepEqual(columns.answer, ['b']);

  const any: Row[] = [{ question: 'a' }];
  for await (const { columns } of batches(any, { size: 1 })) assert.equal(columns['question']?.length, 1);
});
