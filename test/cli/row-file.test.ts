import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parquetMetadata, parquetReadObjects } from 'hyparquet';
import type { Rows } from '../../lib/cli/parquet-rows.js';
import { writeRowFile } from '../../lib/cli/row-file.js';
import { GradCacheError } from '../../lib/errors.js';
import type { MinedRow } from '../../lib/mining/mined-rows.js';
import { temporaryFolder } from '../training/support.js';

/** A column of each kind; the last group of Parquet is not full. */
const ROWS = 20_001;
const KINDS: Rows['types'] = [
  { name: 'anchor', type: 'text', list: false },
  { name: 'answer.text', type: 'text', list: true },
  { name: 'label', type: 'integer', list: false },
  { name: 'labels', type: 'integer', list: true },
  { name: 'score', type: 'number', list: false },
  { name: 'scores', type: 'number', list: true },
];
const row = (k: number): MinedRow => ({
  anchor: k === 3 ? '' : `"ä😀", line ${k}\n`,
  'answer.text': Array.from({ length: k % 3 }, (_, item) => `${k} ${item}`),
  label: k % 2,
  labels: [1, ...Array.from({ length: k % 4 }, () => 0)],
  score: Math.sin(k),
  scores: [Math.cos(k), -0.5],
});

function* rows(): Generator<MinedRow> {
  for (let k = 0; k < ROWS; k++) yield row(k);
}

const arrayOf = async (path: string): Promise<ArrayBuffer> => {
  const bytes = await readFile(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
};

test('rows written as Parquet are read back, group by group', async (t) => {
  const path = join(await temporaryFolder(t), 'mined.parquet');
  let checked = 0;
  await writeRowFile(path, 'parquet', { types: KINDS, rows: rows() }, () => checked++);
  const file = await arrayOf(path);
  const metadata = parquetMetadata(file);
  assert.deepEqual(
    metadata.row_groups.map(({ num_rows }) => Number(num_rows)),
    [10_000, 10_000, 1],
  );
  assert.equal(checked, 3);
  const read = await parquetReadObjects({ file });
  assert.equal(read.length, ROWS);
  for (const k of [0, 1, 2, 3, 9_999, 10_000, ROWS - 1]) assert.deepEqual(read[k], row(k));
});

test('no rows are a file of their columns', async (t) => {
  const path = join(await temporaryFolder(t), 'none.parquet');
  await writeRowFile(path, 'parquet', { types: KINDS, rows: [] }, () => undefined);
  const metadata = parquetMetadata(await arrayOf(path));
  assert.equal(Number(metadata.num_rows), 0);
  assert.equal(metadata.schema[0]!.num_children, KINDS.length);
});

test('nothing is left of rows that end in an error', async (t) => {
  const folder = await temporaryFolder(t);
  for (const format of ['parquet', 'jsonl', 'csv'] as const) {
    const stop = (): void => {
      throw new GradCacheError('ABORTED', 'stopped');
    };
    const many = { types: KINDS, rows: rows() };
    await assert.rejects(writeRowFile(join(folder, `mined.${format}`), format, many, stop), {
      code: 'ABORTED',
    });
  }
  assert.deepEqual(await readdir(folder), []);
});
