import assert from 'node:assert/strict';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { dataFiles } from '../../lib/data/data-files.js';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { Row } from '../../lib/data/row.js';
import { temporaryFolder } from './temporary-folder.js';

const fixtures = fileURLToPath(new URL('../../../test/data/fixtures', import.meta.url));
const saved = join(fixtures, 'saved-dataset');

async function rowsOf(path: string, options: object = {}): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of readPairs(path, options)) rows.push(row);
  return rows;
}

const LISTS = {
  columns: ['anchor', 'positive'],
  lists: ['positive'],
  label: { column: 'scores', type: 'numbers' },
};

function listsOf(row: number): Row {
  const positive = [`answer ${row}`, ...(row % 2 === 1 ? [`further answer ${row}`] : [])];
  return {
    anchor: `question ${row}`,
    positive: JSON.stringify(positive),
    scores: JSON.stringify([1, 0.5 * row]),
  };
}

test('columns of lists are read from Parquet, and from folders of save_to_disk', async () => {
  const expected = Array.from({ length: 6 }, (_, row) => listsOf(row));
  assert.deepEqual(await rowsOf(join(fixtures, 'lists.parquet'), LISTS), expected);
  assert.deepEqual(await rowsOf(join(saved, 'train'), LISTS), expected);
  assert.deepEqual(await rowsOf(join(saved, 'test'), LISTS), expected.slice(0, 2));
  // Columns by number: the first and the second.
  const numbered = { columns: ['1', '2'], lists: ['2'] };
  const [first] = await rowsOf(join(fixtures, 'lists.parquet'), numbered);
  assert.deepEqual(first, { 1: 'question 0', 2: '["answer 0"]' });
  assert.deepEqual((await rowsOf(join(saved, 'train'), numbered))[0], first);
  const label = { columns: ['anchor', 'anchor2'], label: { column: 'count' } };
  for (const path of [join(fixtures, 'lists.parquet'), join(saved, 'train')])
    await assert.rejects(rowsOf(path, label), {
      code: 'INPUT',
      message: /no column of texts or numbers "anchor2"/,
    });
});

test('a DatasetDict has splits, of which one is named', async () => {
  assert.throws(() => dataFiles([saved]), {
    code: 'INPUT',
    message: /has the splits train, test: name one, as .*train/,
  });
  assert.deepEqual(dataFiles([saved], 'train'), dataFiles([join(saved, 'train')]));
});

test('an Arrow file damaged anywhere gives rows or INPUT', async (t) => {
  const folder = await temporaryFolder(t);
  const [whole] = dataFiles([join(saved, 'train')]) as [string];
  const bytes = await readFile(whole);
  const damaged = join(folder, 'a.arrow');
  for (let at = 0; at < bytes.length; at += 37) {
    const copy = Buffer.from(bytes);
    copy[at] = copy[at]! ^ 0xff;
    await writeFile(damaged, at % 2 === 0 ? copy : bytes.subarray(0, at));
    await rowsOf(damaged, { columns: ['anchor'] }).catch((error: unknown) => {
      assert.equal((error as { code?: string }).code, 'INPUT', String(error));
    });
  }
  await copyFile(whole, join(folder, 'b.txt'));
  assert.equal((await rowsOf(join(folder, 'b.txt'), { format: 'arrow', columns: ['anchor'] })).length, 6);
});
