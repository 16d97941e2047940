import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { findBuilds } from '../../lib/addon/runtime/builds.js';
import { loadedLibtorch, useLibtorch } from '../../lib/addon/native.js';
import { loadAddon } from '../../lib/addon/runtime/load.js';
import { fakeLibtorch, libraryNeeding, temporaryFolder } from './fake-libtorch.js';

test('loads the addon for the libtorch found, twice the same', () => {
  const first = loadAddon();
  assert.equal(typeof first.addon, 'object');
  assert.equal(loadAddon().addon, first.addon);
  assert.match(first.addonPath, /\.node$/);
});

test('one libgomp serves libtorch and the addon', () => {
  loadAddon();
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const runtimes = new Set(maps.match(/\/\S*lib(?:gomp|iomp|omp)\S*/g));
  assert.equal(runtimes.size, 1, [...runtimes].join(' '));
});

test('loads in several worker threads at once, which then end', async () => {
  const load = new URL('../../lib/addon/runtime/load.js', import.meta.url).href;
  const program = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(load)}).then(({ loadAddon }) => parentPort.postMessage(typeof loadAddon().addon));`;
  const answers = await Promise.all(
    [1, 2, 3].map(
      () =>
        new Promise<unknown>((resolve, reject) => {
          const worker = new Worker(program, { eval: true });
          let answer: unknown;
          worker.on('message', (message: unknown) => {
            answer = message;
          });
          worker.on('error', reject);
          worker.on('exit', () => resolve(answer));
        }),
    ),
  );
  assert.deepEqual(answers, ['object', 'object', 'object']);
});

test('a libtorch whose libraries do not open is LIBTORCH_LOAD, with the library and the folder', (context) => {
  const folder = fakeLibtorch(temporaryFolder(context), { version: loadAddon().libtorch.version });
  assert.throws(
    () => loadAddon({ libtorch: folder }),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'LIBTORCH_LOAD');
      assert.match(error.message, /libc10\.so does not open/);
      assert.ok(error.message.includes(folder));
      assert.match(error.message, /npx gradcache doctor/);
      return true;
    },
  );
});

test('a missing library of NVIDIA is named, with the advice that fits', (context) => {
  const folder = fakeLibtorch(temporaryFolder(context), { version: loadAddon().libtorch.version });
  writeFileSync(join(folder, 'lib', 'libc10.so'), libraryNeeding('libcublas.so.99'));
  assert.throws(
    () => loadAddon({ libtorch: folder }),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'LIBTORCH_LOAD');
      assert.match(error.message, /libcublas\.so\.99: cannot open shared object file/);
      assert.match(error.message, /needs a library of NVIDIA/);
      return true;
    },
  );
});

test('the boot addon reports what does not open, stops there, and refuses other arguments', () => {
  const build = findBuilds()[0];
  assert.ok(build !== undefined);
  const boot = createRequire(import.meta.url)(build.boot) as { open(...args: unknown[]): unknown };
  const results = boot.open(['/nowhere/liba.so', '/nowhere/libb.so'], false) as {
    path: string;
    error: string;
  }[];
  assert.equal(results.length, 1);
  assert.match(results[0]?.error ?? '', /nowhere\/liba\.so/);
  assert.deepEqual(boot.open([], true), []);
  for (const args of [[], ['/a', true], [[1], true], [['a']]])
    assert.throws(() => boot.open(...args), TypeError);
});

test('the libtorch that is loaded may be named again, by any of its paths', (context) => {
  const { folder } = loadedLibtorch().libtorch;
  const link = join(temporaryFolder(context), 'link');
  symlinkSync(folder, link);
  for (const path of [folder, `${folder}/`, link, `${link}/lib`, join(folder, 'lib')]) useLibtorch(path);
  for (const path of ['/nowhere', dirname(link)])
    assert.throws(() => useLibtorch(path), { code: 'INPUT', message: /comes too late/ });
  assert.throws(() => useLibtorch(5 as never), { code: 'INPUT', message: /is 5; a string is needed/ });
});

/** Runs a program of its own, and gives what it prints. */
function printed(flags: readonly string[], program: string): string {
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', program], {
    encoding: 'utf8',
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  return stdout + stderr;
}

const told = (module: string): string => `
  try { (await import(${JSON.stringify(module)})).loadAddon(); } catch (error) { console.log(error.name, error.code, error.message); }
`;

test('where Node may load no addons, the error says by which flag', () => {
  const load = new URL('../../lib/addon/runtime/load.js', import.meta.url).href;
  const index = new URL('../../lib/index.js', import.meta.url).href;
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';
  const limited = [permission, '--allow-fs-read=*', '--allow-fs-write=*', '--allow-child-process'];
  // On Node 20 the permission model does not look at addons.
  for (const flags of process.version.startsWith('v20') ? [['--no-addons']] : [['--no-addons'], limited]) {
    for (const module of [load, index])
      assert.match(
        printed(flags, told(module)),
        /^GradCacheError LIBTORCH_LOAD [^]*--no-addons, or with --permission/,
      );
  }
});

test('a bundle that left the addons behind says what to keep out of it', (context) => {
  const folder = temporaryFolder(context);
  const lib = join(import.meta.dirname, '..', '..', 'lib');
  for (const part of ['addon', 'options', 'files', 'processes', 'errors.js'])
    cpSync(join(lib, part), join(folder, 'bundle', part), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const load = join(folder, 'bundle', 'addon', 'runtime', 'load.js');
  assert.match(printed([], told(load)), /^GradCacheError LIBTORCH_VERSION [^]*esbuild --external:gradcache/);
});
