import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileHeads } from '../../lib/data/file-heads.js';
import type { ReadRecord, RecordBlocks } from '../../lib/data/row.js';
import { temporaryFolder } from './temporary-folder.js';

async function all(blocks: RecordBlocks): Promise<ReadRecord[]> {
  const records: ReadRecord[] = [];
  for await (const block of blocks) records.push(...block);
  return records;
}

test('reading goes on where the look ended, and a second reading begins anew', async (t) => {
  const folder = await temporaryFolder(t);
  const rows = Array.from({ length: 30_000 }, (_, row) => `{"anchor":"a ${row}","positive":"b ${row}"}\n`);
  const file = join(folder, 'long.jsonl');
  await writeFile(file, rows.join(''));
  const heads = new FileHeads();
  const head = await heads.look(file, {});
  assert.equal(head.length, 100);
  assert.deepEqual(await heads.look(file, {}), head);
  const first = await all(heads.open(file));
  assert.equal(first.length, rows.length);
  assert.deepEqual(first.slice(0, 100), head);
  assert.deepEqual(await all(heads.open(file)), first);
});

test('a header that lacks a column is refused as without a look, and what is closed can be read again', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'pairs.csv');
  await writeFile(file, 'anchor,positive\na,b\n');
  const heads = new FileHeads();
  await heads.look(file, {});
  await assert.rejects(all(heads.open(file, { columns: ['anchor', 'negative'] })), {
    code: 'INPUT',
    message: /there is no column "negative"/,
  });
  await heads.look(file, {});
  await heads.close();
  assert.deepEqual(await all(heads.open(file)), [
    { line: 2, values: { anchor: 'a', positive: 'b' }, fields: ['a', 'b'] },
  ]);
});
