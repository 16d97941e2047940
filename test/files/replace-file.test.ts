import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { replaceFile } from '../../lib/files/replace-file.js';
import { temporaryFolder } from '../data/temporary-folder.js';

test('the new content appears at once and nothing else stays', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'file');
  await writeFile(path, 'old');
  await replaceFile(path, async (file) => {
    await file.writeFile('half');
    assert.equal(await readFile(path, 'utf8'), 'old');
    await file.writeFile(' and half');
  });
  assert.equal(await readFile(path, 'utf8'), 'half and half');
  assert.deepEqual(await readdir(folder), ['file']);
});

test('a write that fails half way leaves the old file and no temporary one', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'file');
  await writeFile(path, 'old');
  const failure = new Error('disk full');
  const write = replaceFile(path, async (file) => {
    await file.writeFile('half');
    throw failure;
  });
  await assert.rejects(write, failure);
  assert.equal(await readFile(path, 'utf8'), 'old');
  assert.deepEqual(await readdir(folder), ['file']);
});
