import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readTexts } from '../../lib/evaluation/file-texts.js';
import { collect, temporaryFolder } from '../data/temporary-folder.js';

const HOW = { names: { columns: '--column' } };

test('the lines of a file are its texts: no mark in front, no carriage returns, empty ones kept', async (t) => {
  const folder = await temporaryFolder(t);
  // A line separator of Unicode ends no line: rows would no longer stand beside their lines.
  const text = '\uFEFFfirst\r\n\r\nwith\u2028in it\nlast';
  const expected = ['first', '', 'with\u2028in it', 'last'];
  for (const [name, bytes] of [
    ['a.txt', Buffer.from(text)],
    ['b.txt', Buffer.from(`${text}\n`)],
    ['c.txt.gz', gzipSync(text)],
  ] as const) {
    await writeFile(join(folder, name), bytes);
    assert.deepEqual(await collect(readTexts(join(folder, name), undefined, HOW)), expected);
  }
});

test('a line that is not UTF-8 is named, and a file with columns needs one of them', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'wrong.txt');
  await writeFile(path, Buffer.from('good\ncaf\xe9\n', 'latin1'));
  await assert.rejects(collect(readTexts(path, undefined, HOW)), {
    code: 'INPUT',
    message: /wrong\.txt, line 2/,
  });
  await assert.rejects(collect(readTexts(join(folder, 'a.jsonl'), undefined, HOW)), {
    code: 'INPUT',
    message: /--column NAME/,
  });
});

test('a folder, a device or a pointer of Git LFS in place of lines is told', async (t) => {
  const folder = await temporaryFolder(t);
  const pointer = join(folder, 'lines.txt');
  await writeFile(pointer, 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n');
  for (const [path, message] of [
    [pointer, /Git LFS/],
    [folder, /is a folder/],
    ['/dev/zero', /is a device/],
  ] as const)
    await assert.rejects(collect(readTexts(path, undefined, HOW)), { code: 'INPUT', message });
});
