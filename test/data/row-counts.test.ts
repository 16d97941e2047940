import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { tableFromArrays, tableToIPC } from 'apache-arrow';
import { dataFiles } from '../../lib/data/data-files.js';
import { readPairs } from '../../lib/data/read-pairs.js';
import { rowsTold } from '../../lib/data/row-counts.js';
import { root } from '../training/support.js';
import { temporaryFolder } from './temporary-folder.js';

const fixtures = join(root, 'test', 'data', 'fixtures');
const saved = dataFiles([join(fixtures, 'saved-dataset', 'train')]);

test('Parquet and Arrow files tell how many rows they have, and no other file does', async (t) => {
  const folder = await temporaryFolder(t);
  const files = (await readdir(fixtures)).filter((name) =>
    /^(brotli|gzip|none|nulls|page-index|zstd)\.parquet$/.test(name),
  );
  for (const file of [...files.map((name) => join(fixtures, name)), ...saved]) {
    let rows = 0;
    const count = (): void => void rows++;
    for await (const _ of readPairs(file, { onBadLine: 'skip', onSkip: count })) count();
    assert.equal(await rowsTold([file], undefined, undefined), rows, file);
  }
  const table = tableFromArrays({ anchor: Array.from({ length: 700 }, (_, row) => `anchor ${row}`) });
  const kinds = ['file', 'stream'] as const;
  for (const kind of kinds) await writeFile(join(folder, `${kind}.arrow`), tableToIPC(table, kind));
  const written = kinds.map((kind) => join(folder, `${kind}.arrow`));
  assert.equal(await rowsTold([...written, ...saved], undefined, undefined), 1406);
  await copyFile(written[0]!, join(folder, 'table'));
  assert.equal(await rowsTold([join(folder, 'table')], 'arrow', undefined), 700);
  // A pipe tells nothing, and what is in it is left there. Opened for both, it waits for no one.
  const pipe = join(folder, 'pipe.arrow');
  execFileSync('mkfifo', [pipe]);
  const opened = await open(pipe, 'r+');
  assert.equal(await rowsTold([pipe], undefined, undefined).finally(() => opened.close()), null);
  await writeFile(join(folder, 'rows.jsonl'), '{"anchor":"a"}\n');
  assert.equal(await rowsTold([...written, join(folder, 'rows.jsonl')], undefined, undefined), null);
});

test('a damaged file is told by its name, and a count comes to an end', async (t) => {
  const folder = await temporaryFolder(t);
  const refused = (file: string): Promise<void> =>
    assert.rejects(rowsTold([...saved, file], undefined, undefined), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'INPUT');
      return error.message.includes(file);
    });
  await refused(join(folder, 'missing.arrow'));
  await refused(join(folder, 'missing.parquet'));
  const parquet = await readFile(join(fixtures, 'none.parquet'));
  await writeFile(join(folder, 'cut.parquet'), parquet.subarray(0, parquet.length - 9));
  await refused(join(folder, 'cut.parquet'));
  const bytes = await readFile(saved[0]!);
  const damaged = join(folder, 'damaged.arrow');
  await writeFile(damaged, bytes.subarray(0, 400));
  await refused(damaged);
  for (let at = 0; at < bytes.length; at += 41) {
    const copy = Buffer.from(bytes);
    copy[at] = copy[at]! ^ 0xff;
    await writeFile(damaged, copy);
    await rowsTold([damaged], undefined, undefined).catch((error: unknown) => {
      assert.equal((error as { code?: string }).code, 'INPUT', String(error));
    });
  }
});
