import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, realpath, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { beside } from '../../lib/files/names-beside.js';
import { holder } from '../../lib/files/holder.js';
import { readSafetensors, writeSafetensors } from '../../lib/safetensors/safetensors.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { MODEL, save } from '../model-folder/small-folder.js';
import { changeFiles, replaceFsync, replacePromised, systemError } from './system-faults.js';

async function holds(folder: string, content: string, others: readonly string[] = []): Promise<void> {
  assert.deepEqual((await readdir(folder)).sort(), [...MODEL, ...others].sort());
  for (const name of ['config.json', 'weights', join('layer', 'config')])
    assert.equal(await readFile(join(folder, name), 'utf8'), content, name);
  for (const name of others) assert.equal(await readFile(join(folder, name), 'utf8'), 'mine', name);
}

async function folderWithNotes(context: TestContext): Promise<{ parent: string; folder: string }> {
  const parent = await temporaryFolder(context);
  const folder = join(parent, 'model');
  await save(folder, 'first');
  await writeFile(join(folder, 'notes.txt'), 'mine');
  return { parent, folder };
}

test('files are written and read with a FileHandle that is not Node’s own: no sync, and reads into a Buffer only', async (t) => {
  const folder = await temporaryFolder(t);
  changeFiles(t, {
    sync: () => assert.fail('sync() is not there'),
    datasync: () => assert.fail('datasync() is not there'),
    read: (real, buffer, ...rest) => {
      assert.ok(Buffer.isBuffer(buffer), 'only a Buffer can be read into');
      return real(buffer, ...rest);
    },
  });
  await save(join(folder, 'model'), 'saved');
  await holds(join(folder, 'model'), 'saved');
  const stored = {
    dtype: 'float32',
    shape: [2],
    bytes: new Uint8Array(Float32Array.of(1, 2).buffer),
  } as const;
  await writeSafetensors(join(folder, 'w.safetensors'), [['w', stored]]);
  assert.deepEqual((await readSafetensors(join(folder, 'w.safetensors'))).get('w'), stored);
});

for (const code of ['EINVAL', 'ENOTSUP', 'ENOSYS']) {
  test(`a file system that cannot flush (${code}) takes a save`, async (t) => {
    const folder = await temporaryFolder(t);
    replaceFsync(t, code);
    await save(join(folder, 'model'), 'saved');
    await holds(join(folder, 'model'), 'saved');
  });
}

test('a flush that fails is an error, with the file and the way out', async (t) => {
  const folder = await temporaryFolder(t);
  replaceFsync(t, 'EIO');
  await assert.rejects(save(join(folder, 'model'), 'saved'), {
    code: 'INPUT',
    message: /model\S* cannot be written.*EIO/,
  });
  assert.deepEqual(await readdir(folder), []);
});

for (const [code, wayOut] of [
  ['ENOSPC', /disk is full/],
  ['EDQUOT', /quota/],
  ['EACCES', /lacks the right/],
  ['EROFS', /read-only/],
] as const) {
  test(`${code} in the middle of a save names the file and the way out, and leaves the old model`, async (t) => {
    const { parent, folder } = await folderWithNotes(t);
    changeFiles(t, {
      writeFile: (real, data) =>
        data === 'second' ? Promise.reject(systemError(code, 'write')) : real(data),
    });
    await assert.rejects(save(folder, 'second'), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'INPUT');
      assert.ok(error.message.startsWith(`${join(folder, 'config.json')} cannot be written`), error.message);
      assert.doesNotMatch(error.message, /\.tmp/);
      assert.match(error.message, wayOut);
      return true;
    });
    await holds(folder, 'first', ['notes.txt']);
    assert.deepEqual(await readdir(parent), ['model']);
  });
}

/** What the system says where a folder is a mount point, lies in a container's lower layer, or is in another's folder. */
const FIXED = ['EBUSY', 'EXDEV', 'EPERM', 'EACCES'];

function fix(context: TestContext, code: string, folders: readonly string[]): void {
  replacePromised(context, 'rename', (real) => async (from: string, to: string) => {
    if (folders.includes(from)) throw systemError(code, 'rename');
    await real(from, to);
  });
}

for (const code of FIXED) {
  test(`where the folder cannot be renamed (${code}), what is in it is replaced`, async (t) => {
    const { parent, folder } = await folderWithNotes(t);
    fix(t, code, code === 'EXDEV' ? [folder, join(folder, 'layer')] : [folder]);
    await save(folder, 'second');
    await holds(folder, 'second', ['notes.txt']);
    await assert.rejects(save(folder, 'third', new Error('in the middle')), /in the middle/);
    await holds(folder, 'second', ['notes.txt']);
    assert.deepEqual(await readdir(parent), ['model']);
  });
}

test('a folder on another device than the one around it is not renamed at all', async (t) => {
  const { folder } = await folderWithNotes(t);
  replacePromised(t, 'stat', (real) => async (path: string) => {
    const status = await real(path);
    return path === folder ? Object.assign(status, { dev: 12345 }) : status;
  });
  replacePromised(t, 'rename', (real) => async (from: string, to: string) => {
    assert.notEqual(from, folder);
    await real(from, to);
  });
  await save(folder, 'second');
  await holds(folder, 'second', ['notes.txt']);
});

test('a new volume, with nothing but its lost+found, takes a model', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'lost+found'));
  await save(folder, 'first');
  assert.deepEqual((await readdir(folder)).sort(), [...MODEL, 'lost+found'].sort());
});

test('where an entry cannot be put in its place, what was there comes back', async (t) => {
  const { folder } = await folderWithNotes(t);
  replacePromised(t, 'rename', (real) => async (from: string, to: string) => {
    if (from === folder) throw systemError('EBUSY', 'rename');
    if (from.includes('.tmp') && to === join(folder, 'weights')) throw systemError('EIO', 'rename');
    await real(from, to);
  });
  await assert.rejects(save(folder, 'second'), { code: 'INPUT', message: /EIO/ });
  await holds(folder, 'first', ['notes.txt']);
});

test('a write inside a folder that was killed half way is undone by the next', async (t) => {
  const { folder } = await folderWithNotes(t);
  await mkdir(join(folder, '.gradcache.old'));
  await rename(join(folder, 'config.json'), join(folder, '.gradcache.old', 'config.json'));
  await writeFile(join(folder, '.gradcache.old', 'weights'), 'first');
  await writeFile(join(folder, 'weights'), 'half');
  await utimes(join(folder, '.gradcache.old'), 1, 1);
  await assert.rejects(save(folder, 'second', new Error('fails as well')), /fails as well/);
  await holds(folder, 'first', ['notes.txt']);
});

test('what a killed save has set aside comes back: the folder, or the user’s files in it', async (t) => {
  const { parent, folder } = await folderWithNotes(t);
  const aside = beside(folder, 'old').replace(String(process.pid).padStart(7, '0'), '4194999'); // no such process
  await rename(folder, aside);
  await assert.rejects(save(folder, 'second', new Error('fails')), /fails/);
  await holds(folder, 'first', ['notes.txt']);

  await mkdir(aside);
  for (const name of ['config.json', 'more.txt']) await writeFile(join(aside, name), 'mine');
  await save(folder, 'second');
  await holds(folder, 'second', ['notes.txt', 'more.txt']);
  assert.deepEqual(await readdir(parent), ['model']);
});

test('a folder of the user’s own is not taken for one that was set aside, and one of two namesakes is not lost', async (t) => {
  const { parent, folder } = await folderWithNotes(t);
  await mkdir(join(parent, 'model.2024.old'));
  await writeFile(join(parent, 'model.2024.old', 'config.json'), 'mine');
  const aside = beside(folder, 'old');
  await mkdir(aside);
  await writeFile(join(aside, 'notes.txt'), 'mine as well');
  await save(folder, 'second');
  await holds(folder, 'second', ['notes.txt']);
  assert.equal(await readFile(join(aside, 'notes.txt'), 'utf8'), 'mine as well');
  assert.equal(await readFile(join(parent, 'model.2024.old', 'config.json'), 'utf8'), 'mine');
});

test('threads that save into one folder at once all succeed, and the user’s files stay', async (t) => {
  const { parent, folder } = await folderWithNotes(t);
  const program = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.save).then(async ({ save }) => {
      for (let count = 0; count < 12; count++) await save(workerData.folder, String(count));
    });
  `;
  const workers = [1, 2, 3, 4].map(
    () =>
      new Worker(program, {
        eval: true,
        workerData: { save: new URL('../model-folder/small-folder.js', import.meta.url).href, folder },
      }),
  );
  await Promise.all(
    workers.map((worker) => new Promise((resolve, reject) => worker.on('error', reject).on('exit', resolve))),
  );
  await holds(folder, '11', ['notes.txt']);
  assert.deepEqual(await readdir(parent), ['model']);
});

/** A process that has ended: a writer of this system that was killed. */
function dead(): { pid: number; text: string } {
  const { pid } = spawnSync('true');
  return { pid, text: JSON.stringify({ ...holder('x'), pid, started: '1' }) };
}

test('of a write inside a folder that was killed at any moment, nothing stays that was not there before', async (t) => {
  const { folder } = await folderWithNotes(t);
  const aside = join(folder, '.gradcache.old');
  // All of the old model is aside, and of the new one, which has more files, some have come.
  await mkdir(aside);
  await rm(join(folder, 'layer'), { recursive: true });
  for (const name of ['config.json', 'weights']) await rename(join(folder, name), join(aside, name));
  await writeFile(join(aside, '.gradcache.complete'), '');
  await writeFile(join(aside, '.gradcache.holder'), dead().text);
  for (const name of ['weights', 'layer']) await writeFile(join(folder, name), 'half');
  const started = Date.now();
  await assert.rejects(save(folder, 'second', new Error('fails as well')), /fails as well/);
  assert.ok(Date.now() - started < 5000, 'a writer that has ended is known at once');
  assert.deepEqual((await readdir(folder)).sort(), ['config.json', 'notes.txt', 'weights']);
  assert.equal(await readFile(join(folder, 'weights'), 'utf8'), 'first');
});

test('a new entry that the old model had not is removed where the last of the new ones cannot come', async (t) => {
  const { folder } = await folderWithNotes(t);
  await rm(join(folder, 'weights'));
  replacePromised(t, 'rename', (real) => async (from: string, to: string) => {
    if (from === folder) throw systemError('EBUSY', 'rename');
    if (from.includes('.tmp') && to === join(folder, 'config.json')) throw systemError('EIO', 'rename');
    await real(from, to);
  });
  await assert.rejects(save(folder, 'second'), { code: 'INPUT', message: /EIO/ });
  assert.deepEqual((await readdir(folder)).sort(), ['config.json', 'layer', 'notes.txt']);
});

test('the turn of a writer that was killed at its beginning is no wait for the next', async (t) => {
  const { folder } = await folderWithNotes(t);
  await mkdir(join(folder, '.gradcache.old'));
  await writeFile(join(folder, '.gradcache.old', '.gradcache.holder'), dead().text);
  await save(folder, 'second');
  await holds(folder, 'second', ['notes.txt']);
  await mkdir(join(folder, '.gradcache.old')); // as an earlier version began
  await save(folder, 'third');
  await holds(folder, 'third', ['notes.txt']);
});

test('a link to what is not there is refused with both, at the end of a path and within it', async (t) => {
  const parent = await temporaryFolder(t);
  const link = join(parent, 'link');
  await symlink(join('disk', 'model'), link);
  for (const path of [link, join(link, 'deeper', 'model')])
    await assert.rejects(save(path, 'first'), {
      code: 'INPUT',
      message: `${path} cannot be written: ${link} is a link to disk/model, which is not there. Mount or make it, or remove the link.`,
    });
  assert.deepEqual(await readdir(parent), ['link']);
  await mkdir(join(parent, 'disk'));
  await mkdir(join(parent, 'disk', 'model'));
  await save(link, 'first');
  await holds(join(parent, 'disk', 'model'), 'first');
});

test('the folder that the process is in stays, and no path is no folder', async (t) => {
  const { folder } = await folderWithNotes(t);
  const before = process.cwd();
  t.after(() => process.chdir(before));
  process.chdir(folder);
  await save('.', 'second');
  assert.equal(await realpath('.'), await realpath(folder));
  await holds(process.cwd(), 'second', ['notes.txt']);
  await assert.rejects(save('', 'third'), { code: 'INPUT', message: /not a path/ });
});

test('half of a model that a killed save left is removed by the next; that of a running or unknown one stays', async (t) => {
  const { parent, folder } = await folderWithNotes(t);
  const of = (pid: number) =>
    beside(folder, 'tmp').replace(String(process.pid).padStart(7, '0'), String(pid).padStart(7, '0'));
  const left = async (path: string, text: string): Promise<string> => {
    await mkdir(path);
    await writeFile(join(path, 'weights'), 'half');
    if (text !== '') await writeFile(join(path, '.gradcache.holder'), text);
    return basename(path);
  };
  const { text } = dead();
  await left(of(4194990), text);
  await left(join(folder, basename(of(4194990)).replace('model', '.gradcache')), text);
  const stay = [
    await left(of(4194991), JSON.stringify({ ...holder('x'), system: 'another', pid: 4194991 })),
    await left(of(4194992), ''),
    await left(of(process.ppid), JSON.stringify({ ...holder('x'), pid: process.ppid, started: null })),
  ];
  await save(folder, 'second');
  await holds(folder, 'second', ['notes.txt']);
  assert.deepEqual((await readdir(parent)).sort(), ['model', ...stay].sort());
});
