import assert from 'node:assert/strict';
import os from 'node:os';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { GradCacheError } from '../../lib/errors.js';
import {
  installedFolder,
  locateLibtorch,
  pythonTorch,
  searchLibtorch,
} from '../../lib/addon/runtime/libtorch.js';
import { setup } from '../../lib/addon/runtime/setup.js';
import { fakeLibtorch, fakeProgram, temporaryFolder } from './fake-libtorch.js';

/** A world in which each place can be given a libtorch or something else. */
function world(context: TestContext) {
  const folder = temporaryFolder(context);
  const project = join(folder, 'project');
  const root = join(folder, 'package');
  mkdirSync(join(project, 'src'), { recursive: true });
  mkdirSync(root);
  writeFileSync(join(project, 'package.json'), '{}');
  const environment: NodeJS.ProcessEnv = { GRADCACHE_CACHE: join(folder, 'cache') };
  let python: { path: string } | { reason: string } = { reason: 'python3 has no torch' };
  return {
    folder,
    project,
    environment,
    make: (name: string, version?: string) =>
      fakeLibtorch(join(folder, name), { version: version ?? '2.13.0' }),
    setPython: (path: string) => (python = { path }),
    setInstalled: (path: string) => {
      const link = installedFolder(environment) ?? assert.fail('no cache folder');
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(path, link);
    },
    options: (libtorch?: string) => ({
      libtorch,
      environment,
      root,
      workingFolder: join(project, 'src'),
      pythonTorch: () => python,
    }),
  };
}

function errorOf(fails: () => unknown): GradCacheError {
  try {
    fails();
  } catch (error) {
    assert.ok(error instanceof GradCacheError, String(error));
    return error;
  }
  assert.fail('nothing was thrown');
}

test('the places are looked at in order, the first that holds wins', (context) => {
  const it = world(context);
  const found = (libtorch?: string) => searchLibtorch(it.options(libtorch)).libtorch;
  assert.equal(found(), null);

  it.setPython(it.make('python'));
  assert.equal(found()?.source, 'python');
  const installed = it.make('installed');
  it.setInstalled(installed);
  assert.equal(found()?.source, 'setup');
  symlinkSync(it.make('own'), join(it.project, '.libtorch'));
  assert.equal(found()?.source, 'project');
  it.environment.LIBTORCH = it.make('generic');
  assert.equal(found()?.source, 'LIBTORCH');
  it.environment.GRADCACHE_LIBTORCH = it.make('named');
  assert.equal(found()?.source, 'GRADCACHE_LIBTORCH');
  const given = it.make('given');
  assert.deepEqual(found(given), {
    folder: given,
    version: '2.13.0',
    minor: '2.13',
    cuda: false,
    source: 'option',
  });
});

test('LIBTORCH and what was installed are passed over when they do not serve, and the search says so', (context) => {
  const it = world(context);
  it.environment.LIBTORCH = it.make('old', '2.4.0');
  it.setInstalled(join(it.folder, 'cache'));
  it.setPython(it.make('python'));
  const search = searchLibtorch(it.options());
  assert.equal(search.libtorch?.source, 'python');
  assert.deepEqual(
    search.places.map((place) => place.source),
    ['option', 'GRADCACHE_LIBTORCH', 'LIBTORCH', 'project', 'setup', 'python'],
  );
  assert.match(search.places[2]?.found ?? '', /is libtorch 2\.4\.0/);
});

test('a wrong option or GRADCACHE_LIBTORCH ends the search', (context) => {
  const it = world(context);
  it.setPython(it.make('python'));
  it.environment.GRADCACHE_LIBTORCH = join(it.folder, 'nowhere');
  const error = errorOf(() => locateLibtorch(it.options()));
  assert.equal(error.code, 'LIBTORCH_NOT_FOUND');
  assert.match(error.message, /GRADCACHE_LIBTORCH\s+\S*nowhere: does not exist/);
  assert.doesNotMatch(error.message, /python/);
  assert.equal(errorOf(() => locateLibtorch(it.options(it.folder))).code, 'LIBTORCH_NOT_FOUND');
});

test('with no libtorch anywhere, the message names every place and the command that installs one', (context) => {
  const error = errorOf(() => locateLibtorch(world(context).options()));
  assert.equal(error.code, 'LIBTORCH_NOT_FOUND');
  for (const part of [
    'option',
    'GRADCACHE_LIBTORCH',
    'LIBTORCH',
    'project',
    'setup',
    'python',
    'npx gradcache setup',
    '2.11, 2.12, 2.13 or 2.14',
  ]) {
    assert.ok(error.message.includes(part), `${part} is not in:\n${error.message}`);
  }
});

test('an unsupported version is LIBTORCH_VERSION, naming the version and the supported ones', (context) => {
  const it = world(context);
  it.setPython(it.make('python', '2.9.1+cu128'));
  const error = errorOf(() => locateLibtorch(it.options()));
  assert.equal(error.code, 'LIBTORCH_VERSION');
  assert.match(error.message, /libtorch 2\.9\.1\+cu128 is not supported/);
  assert.match(error.message, /2\.11, 2\.12, 2\.13 or 2\.14/);
});

test('Python is asked only when nothing before it served', (context) => {
  const it = world(context);
  it.environment.LIBTORCH = it.make('generic');
  searchLibtorch({ ...it.options(), pythonTorch: () => assert.fail('Python was asked') });
});

test('asks the Python that GRADCACHE_PYTHON names, and reports one that fails, has no torch or is not there', (context) => {
  const folder = temporaryFolder(context);
  const ask = (script: string) =>
    pythonTorch({ ...process.env, GRADCACHE_PYTHON: fakeProgram(join(folder, 'python'), script) });
  assert.deepEqual(ask('echo /somewhere/torch'), { path: '/somewhere/torch' });
  assert.match((ask('echo') as { reason: string }).reason, /has no torch/);
  assert.match((ask('echo broken >&2; exit 3') as { reason: string }).reason, /failed: broken/);
  const absent = pythonTorch({ ...process.env, GRADCACHE_PYTHON: join(folder, 'absent') });
  assert.match((absent as { reason: string }).reason, /absent is not on PATH/);
});

test('a folder named torch in the working folder is not taken for the package', (context) => {
  const folder = temporaryFolder(context);
  mkdirSync(join(folder, 'torch'));
  writeFileSync(join(folder, 'torch', '__init__.py'), '');
  const before = process.cwd();
  process.chdir(folder);
  context.after(() => process.chdir(before));
  const answer = pythonTorch();
  assert.ok(!('path' in answer) || !answer.path.startsWith(folder));
});

/** As in a container whose user is in no list of users, without HOME. */
function withoutHome(context: TestContext): void {
  const real = os.homedir;
  os.homedir = () => {
    throw new Error('uv_os_homedir returned ENOENT');
  };
  syncBuiltinESMExports();
  context.after(() => {
    os.homedir = real;
    syncBuiltinESMExports();
  });
}

test('a user without a home folder gets the other places, and is told how to have this one', async (context) => {
  withoutHome(context);
  const it = world(context);
  delete it.environment.GRADCACHE_CACHE;
  const error = errorOf(() => locateLibtorch(it.options()));
  assert.equal(error.code, 'LIBTORCH_NOT_FOUND');
  assert.match(error.message, /setup +this user has no home folder: set HOME or GRADCACHE_CACHE/);
  it.setPython(it.make('python'));
  assert.equal(locateLibtorch(it.options()).source, 'python');
  await assert.rejects(setup({ environment: it.environment }), {
    code: 'SETUP',
    message: /set HOME or GRADCACHE_CACHE/,
  });
});

test('a folder by any of its paths is the same libtorch: a slash at its end, a link, the folder around it, its lib', (context) => {
  const it = world(context);
  const folder = it.make(join('site-packages', 'torch'));
  symlinkSync(folder, join(it.folder, 'link'));
  const paths = [
    folder,
    `${folder}/`,
    `${folder}//.`,
    join(it.folder, 'link'),
    `${join(it.folder, 'link')}/`,
  ];
  for (const path of [...paths, join(it.folder, 'site-packages'), join(folder, 'lib')]) {
    it.environment.GRADCACHE_LIBTORCH = path;
    assert.deepEqual([path, searchLibtorch(it.options()).libtorch?.folder], [path, folder]);
  }
});
