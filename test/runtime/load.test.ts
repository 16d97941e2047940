import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { findBuilds } from '../../lib/runtime/builds.js';
import { loadAddon } from '../../lib/runtime/load.js';
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
  const load = new URL('../../lib/runtime/load.js', import.meta.url).href;
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
