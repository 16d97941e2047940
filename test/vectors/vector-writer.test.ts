import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { replaceFile } from '../../lib/files/replace-file.js';
import { replacePromised, systemError } from '../files/system-faults.js';
import { temporaryFolder } from '../training/support.js';
import { openWriter, rowsOf } from './writing.js';

/** Writes one vector, of 1, for a text. */
async function write(path: string, text: string): Promise<void> {
  const writer = await openWriter(path);
  await writer.write(rowsOf(text), Float32Array.of(1), 1);
  await writer.finish(1);
}

const lineOf = (text: string): string => `{"text":${JSON.stringify(text)},"vector":[1]}\n`;

test('a file is replaced when it is complete, with its permissions; links stay and are written through', async (t) => {
  const folder = await temporaryFolder(t);
  const [path, first, second] = ['file', 'first', 'second'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(path, 'old');
  await chmod(path, 0o640);
  await mkdir(join(folder, 'elsewhere'));
  await symlink('file', first);
  await symlink(first, second);
  const dangling = join(folder, 'elsewhere', 'dangling');
  await symlink(relative(join(folder, 'elsewhere'), join(folder, 'new')), dangling);

  const output = await openWriter(second);
  await output.write(rowsOf('half'), Float32Array.of(1), 1);
  assert.equal(await readFile(path, 'utf8'), 'old');
  await output.abandon();
  assert.equal(await readFile(path, 'utf8'), 'old');

  for (const name of [path, first, second]) {
    await write(name, `by ${name}`);
    assert.equal(await readFile(path, 'utf8'), lineOf(`by ${name}`));
    assert.equal((await stat(path)).mode & 0o777, 0o640);
  }
  await write(dangling, 'made');
  assert.equal(await readFile(join(folder, 'new'), 'utf8'), lineOf('made'));
  assert.deepEqual([await readlink(first), await readlink(second)], ['file', first]);
  assert.ok((await lstat(dangling)).isSymbolicLink());
  assert.deepEqual((await readdir(folder)).sort(), ['elsewhere', 'file', 'first', 'new', 'second']);
});

test('a pipe or a device is written to and stays what it is', async (t) => {
  const folder = await temporaryFolder(t);
  const pipe = join(folder, 'pipe');
  assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
  const read = new Promise<string>((resolve) => {
    let text = '';
    createReadStream(pipe, 'utf8')
      .on('data', (part) => (text += part.toString()))
      .on('end', () => resolve(text));
  });
  const vectors = await openWriter(pipe);
  await vectors.write(rowsOf('a'), Float32Array.of(1, 0.5), 2);
  await vectors.finish(2);
  assert.equal(await read, '{"text":"a","vector":[1,0.5]}\n');
  assert.ok((await lstat(pipe)).isFIFO());

  const nothing = await openWriter('/dev/null');
  await nothing.write(rowsOf('a'), Float32Array.of(1), 1);
  await nothing.finish(1);
  assert.ok((await lstat('/dev/null')).isCharacterDevice());
  for (const format of ['npy', 'safetensors'] as const) {
    await assert.rejects(openWriter('/dev/null', { format }), {
      code: 'INPUT',
      message: /\/dev\/null is a pipe or a device, and .*--format jsonl/,
    });
  }
});

test('what the system refuses is named with the file', async (t) => {
  const folder = await temporaryFolder(t);
  const circle = join(folder, 'circle');
  await symlink('circle', circle);
  for (const [path, message] of [
    [folder, /is a folder; name a file/],
    [join(folder, 'gone', 'file'), /gone\/file cannot be written: ENOENT/],
    [circle, /circle cannot be written: .*circle/],
  ] as const) {
    await assert.rejects(openWriter(path), { name: 'GradCacheError', code: 'INPUT', message });
  }
  const full = await openWriter('/dev/full');
  await assert.rejects(full.write(rowsOf('a'), Float32Array.of(1), 1), {
    code: 'INPUT',
    message: /\/dev\/full cannot be written/,
  });
  await full.abandon();
});

for (const code of ['EBUSY', 'EXDEV']) {
  test(`a file that is a mount point, which cannot be replaced (${code}), is written over where it is`, async (t) => {
    const folder = await temporaryFolder(t);
    const path = join(folder, 'file');
    await writeFile(path, 'old, and longer than what comes');
    const { ino } = await stat(path);
    replacePromised(t, 'rename', () => () => Promise.reject(systemError(code, 'rename')));
    const content = 'n'.repeat(3_000_000);
    await write(path, content);
    assert.equal(await readFile(path, 'utf8'), lineOf(content));
    await replaceFile(path, (file) => file.writeFile('new'));
    assert.equal(await readFile(path, 'utf8'), 'new');
    assert.equal((await stat(path)).ino, ino);
    assert.deepEqual(await readdir(folder), ['file']);
  });
}

test('a complete result that cannot be put in its place is kept, and the error says where', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'file');
  const output = await openWriter(path);
  await output.write(rowsOf('all'), Float32Array.of(1), 1);
  let broken = true;
  replacePromised(t, 'rename', (real) => (from: string, to: string) => {
    if (broken && to === path) return Promise.reject(systemError('EIO', 'rename'));
    return real(from, to);
  });
  await assert.rejects(output.finish(1), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'INPUT');
    const [, kept] = /The complete result is in (\S+): move/.exec(error.message) ?? [];
    assert.equal(kept, join(folder, 'file.unfinished'));
    return true;
  });
  assert.equal(await output.abandon(), 1);
  assert.equal(await readFile(join(folder, 'file.unfinished', 'vectors'), 'utf8'), lineOf('all'));

  broken = false;
  const again = await openWriter(path, { resume: true });
  assert.deepEqual(again.complete, { rows: 1, dimension: 1 });
  await again.finish(1);
  assert.equal(await readFile(path, 'utf8'), lineOf('all'));
  assert.deepEqual(await readdir(folder), ['file']);
});

test('a file in a folder that is not there is refused with the way out', async (t) => {
  const path = join(await temporaryFolder(t), 'none', 'file');
  await assert.rejects(openWriter(path), {
    code: 'INPUT',
    message: /file cannot be written: ENOENT.*make it/,
  });
});
