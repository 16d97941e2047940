import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { findBuilds } from '../../lib/addon/runtime/builds.js';
import { chooseBuild } from '../../lib/addon/runtime/load.js';
import { temporaryFolder } from './fake-libtorch.js';

const tuple = `linux-${process.arch}`;

function packageWith(context: TestContext, files: Record<string, string>): string {
  const root = temporaryFolder(context);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
  return root;
}

test('a package with nothing built has no builds', (context) => {
  assert.deepEqual(findBuilds(packageWith(context, {})), []);
});

test('finds what was compiled here first, then the prebuilt addons, newest minor first', (context) => {
  const root = packageWith(context, {
    'build/Release/gradcache.node': '',
    'build/Release/boot/boot.node': '',
    'build/Release/build-info.json': '{"minor":"2.12"}',
    [`prebuilds/boot/prebuilds/${tuple}/boot.glibc.node`]: '',
    [`prebuilds/torch-2.9/prebuilds/${tuple}/gradcache.glibc.node`]: '',
    [`prebuilds/torch-2.11/prebuilds/${tuple}/gradcache.glibc.node`]: '',
    [`prebuilds/torch-2.13/prebuilds/${tuple}/gradcache.glibc.node`]: '',
    'prebuilds/torch-2.14/prebuilds/sunos-mips/gradcache.node': '',
    'prebuilds/notes.txt': '',
  });
  assert.deepEqual(
    findBuilds(root).map(({ kind, minor }) => `${kind} ${minor}`),
    ['source 2.12', 'prebuilt 2.13', 'prebuilt 2.11', 'prebuilt 2.9'],
  );
  const prebuilt = findBuilds(root)[1];
  assert.equal(prebuilt?.addon, join(root, 'prebuilds/torch-2.13/prebuilds', tuple, 'gradcache.glibc.node'));
  assert.equal(prebuilt?.boot, join(root, 'prebuilds/boot/prebuilds', tuple, 'boot.glibc.node'));
});

test('a build without its boot addon or its facts did not come to its end', (context) => {
  const addon = { 'build/Release/gradcache.node': '' };
  const boot = { 'build/Release/boot/boot.node': '' };
  assert.deepEqual(findBuilds(packageWith(context, addon)), []);
  assert.deepEqual(findBuilds(packageWith(context, { ...addon, ...boot })), []);
  assert.deepEqual(
    findBuilds(packageWith(context, { ...addon, ...boot, 'build/Release/build-info.json': '{' })),
    [],
  );
});

test('the build of the same minor is chosen; without one the error names both versions and the ways out', () => {
  const libtorch = {
    folder: '/t',
    version: '2.12.1+cu130',
    minor: '2.12',
    cuda: true,
    source: 'python',
  } as const;
  const builds = ['2.14', '2.12', '2.11'].map((minor) => ({
    kind: 'prebuilt' as const,
    minor,
    addon: minor,
    boot: 'boot',
  }));
  assert.equal(chooseBuild(libtorch, builds).addon, '2.12');
  assert.throws(
    () => chooseBuild({ ...libtorch, minor: '2.13', version: '2.13.0' }, builds),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'LIBTORCH_VERSION');
      assert.match(error.message, /built for libtorch 2\.13/);
      assert.match(error.message, /libtorch 2\.13\.0 in \/t \(python\)/);
      assert.match(error.message, /2\.14, 2\.12, 2\.11/);
      assert.match(error.message, /npx gradcache setup --version 2\.14\.0/);
      return true;
    },
  );
});
