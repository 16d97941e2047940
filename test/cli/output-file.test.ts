import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import {
  chmod,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { openOutputFile } from '../../lib/cli/output-file.js';
import { refuseOverwriting, refuseReplacing } from '../../lib/files/overwrite.js';
import { replaceFile } from '../../lib/files/replace-file.js';
import { replacePromised, systemError } from '../files/system-faults.js';
import { temporaryFolder } from '../training/support.js';

async function write(path: string, text: string): Promise<void> {
  const file = await openOutputFile(path);
  await file.write(Buffer.from(text));
  await file.finish();
}

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

  const output = await openOutputFile(second);
  await output.write(Buffer.from('half'));
  assert.equal(await readFile(path, 'utf8'), 'old');
  await output.abandon();
  assert.equal(await readFile(path, 'utf8'), 'old');

  for (const name of [path, first, second]) {
    await write(name, `by ${name}`);
    assert.equal(await readFile(path, 'utf8'), `by ${name}`);
    assert.equal((await stat(path)).mode & 0o777, 0o640);
  }
  await write(dangling, 'made');
  assert.equal(await readFile(join(folder, 'new'), 'utf8'), 'made');
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
  const output = await openOutputFile(pipe);
  await output.write(Buffer.from('to a pipe'));
  await output.finish();
  assert.equal(await read, 'to a pipe');
  assert.ok((await lstat(pipe)).isFIFO());
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
    await assert.rejects(openOutputFile(path), { name: 'GradCacheError', code: 'INPUT', message });
  }
  const full = await openOutputFile('/dev/full');
  await assert.rejects(full.write(Buffer.from('a')), {
    code: 'INPUT',
    message: /\/dev\/full cannot be written/,
  });
  await full.abandon();
});

test('an output that is one of the inputs is refused, by whatever name', async (t) => {
  const folder = await temporaryFolder(t);
  const at = (name: string): string => join(folder, name);
  await mkdir(at('model/1_Pooling'), { recursive: true });
  for (const name of ['data', 'model/weights', 'model/1_Pooling/config', 'other'])
    await writeFile(at(name), '');
  await symlink('data', at('link'));
  await symlink('.', at('here'));
  await link(at('data'), at('second-name'));
  const inputs = [
    { name: '--input', path: at('data') },
    { name: '--model', path: at('here/model') },
  ];
  for (const name of [
    'data',
    './data',
    'link',
    'here/data',
    'second-name',
    'model/weights',
    'model/1_Pooling/config',
  ]) {
    await assert.rejects(refuseOverwriting({ name: '--output', path: `${folder}/${name}` }, inputs), {
      code: 'INPUT',
      message: /--output .* would overwrite .* (--input|--model) reads/,
    });
  }
  for (const name of ['other', 'new', 'model/new'])
    await refuseOverwriting({ name: '--output', path: at(name) }, inputs);

  for (const replaced of ['model', 'here/model', 'here'])
    await assert.rejects(refuseReplacing({ name: '--output', path: at(replaced) }, inputs), {
      code: 'INPUT',
    });
  await refuseReplacing({ name: '--output', path: at('mod') }, inputs);
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
    assert.equal(await readFile(path, 'utf8'), content);
    await replaceFile(path, (file) => file.writeFile('new'));
    assert.equal(await readFile(path, 'utf8'), 'new');
    assert.equal((await stat(path)).ino, ino);
    assert.deepEqual(await readdir(folder), ['file']);
  });
}

test('a complete result that cannot be put in its place is kept, and the error says where', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'file');
  const output = await openOutputFile(path);
  await output.write(Buffer.from('all'));
  replacePromised(t, 'rename', () => () => Promise.reject(systemError('EIO', 'rename')));
  await assert.rejects(output.finish(), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'INPUT');
    const [, kept] = /The complete result is in (\S+): move/.exec(error.message) ?? [];
    assert.equal(kept, join(folder, /file\.\d+\.tmp/.exec(error.message)![0]));
    return true;
  });
  await output.abandon();
  const [name] = await readdir(folder);
  assert.equal(await readFile(join(folder, name!), 'utf8'), 'all');
});

test('a file in a folder that is not there is refused with the way out', async (t) => {
  const path = join(await temporaryFolder(t), 'none', 'file');
  await assert.rejects(openOutputFile(path), {
    code: 'INPUT',
    message: /file cannot be written: ENOENT.*make it/,
  });
});
