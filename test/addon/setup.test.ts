import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { searchLibtorch } from '../../lib/addon/runtime/libtorch.js';
import { setup } from '../../lib/addon/runtime/setup.js';
import { fakeLibtorch, fakeProgram, temporaryFolder } from './fake-libtorch.js';

/** A project, a cache folder, and a Python whose pip installs a fake libtorch and writes down what it was asked. */
function world(context: TestContext, pip?: string) {
  const folder = temporaryFolder(context);
  const project = join(folder, 'project');
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{}');
  const wheel = fakeLibtorch(join(folder, 'site-packages', 'torch'));
  const log = join(folder, 'pip.log');
  const install = pip ?? `echo "$@" >> ${log}; cp -r ${wheel} "$5/torch"`;
  const real = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], {
    encoding: 'utf8',
  }).stdout.trim();
  const python = fakeProgram(
    join(folder, 'python'),
    `if [ "$2" = pip ]; then ${install}; else exec ${real} "$@"; fi`,
  );
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    GRADCACHE_CACHE: join(folder, 'cache'),
    GRADCACHE_PYTHON: python,
  };
  delete environment.GRADCACHE_LIBTORCH;
  delete environment.LIBTORCH;
  return {
    folder,
    project,
    wheel,
    cache: join(folder, 'cache', 'libtorch'),
    options: { environment, workingFolder: project },
    pipCalls: () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []),
    found: () => searchLibtorch({ environment, workingFolder: project, root: folder }).libtorch,
  };
}

test('installs into the cache folder with pip, names the version, and does nothing the second time', async (context) => {
  const it = world(context);
  const lines: string[] = [];
  const first = await setup({ ...it.options, onLine: (line) => lines.push(line) });
  assert.equal(first.installed, true);
  assert.equal(it.found()?.source, 'setup');
  assert.equal(it.pipCalls().length, 1);
  assert.match(it.pipCalls()[0] ?? '', /^-m pip install --target \S+ torch==2\.13\.0$/);
  assert.match(lines[0] ?? '', /torch==2\.13\.0/);
  assert.deepEqual(await setup(it.options), { ...first, installed: false });
  assert.equal(it.pipCalls().length, 1);
  assert.deepEqual(readdirSync(it.cache).sort(), ['2.13.0', 'current'], 'nothing is left beside');
});

test('passes pip its own options, and installs anew when they change', async (context) => {
  const it = world(context);
  await setup({ ...it.options, version: '2.13.0+cu130', pipArguments: ['--index-url', 'file:///somewhere'] });
  assert.match(it.pipCalls()[0] ?? '', /torch==2\.13\.0\+cu130 --index-url file:\/\/\/somewhere$/);
  assert.equal((await setup({ ...it.options, version: '2.13.0+cu130' })).installed, true);
  assert.equal(it.pipCalls().length, 2);
});

test('the version set up last is the one that is found', async (context) => {
  const it = world(context);
  await setup(it.options);
  const other = await setup({ ...it.options, version: '2.12.1' });
  assert.equal(readlinkSync(join(it.cache, 'current')), join(it.cache, '2.12.1'));
  assert.equal(other.installed, true);
  assert.equal((await setup(it.options)).installed, true, 'the link moves back');
  assert.equal(it.pipCalls().length, 2, 'without installing again');
});

test('--project installs into .libtorch of the nearest package', async (context) => {
  const it = world(context);
  const { folder } = await setup({ ...it.options, project: true });
  assert.equal(folder, join(it.project, '.libtorch', 'torch'));
  assert.equal(it.found()?.source, 'project');
  assert.equal((await setup({ ...it.options, project: true })).installed, false);
  assert.deepEqual(readdirSync(it.project).sort(), ['.libtorch', 'package.json']);
});

test('a folder is used where it lies', async (context) => {
  const it = world(context);
  const first = await setup({ ...it.options, from: join(it.folder, 'site-packages') });
  assert.deepEqual(first, { folder: it.wheel, installed: true });
  assert.equal(readlinkSync(join(it.cache, 'current')), it.wheel);
  assert.equal((await setup({ ...it.options, from: it.wheel })).installed, false);
  await setup({ ...it.options, from: it.wheel, project: true });
  assert.equal(readlinkSync(join(it.project, '.libtorch')), it.wheel);
});

test('unpacks zip, wheel and tar archives', async (context) => {
  const it = world(context);
  fakeLibtorch(join(it.folder, 'libtorch'), { style: 'archive', version: '2.14.0' });
  const run = (command: string, args: string[]) =>
    assert.equal(spawnSync(command, args, { cwd: it.folder }).status, 0, `${command} ${args.join(' ')}`);
  run('python3', ['-m', 'zipfile', '-c', 'a.zip', 'libtorch']);
  run('python3', ['-m', 'zipfile', '-c', 'b.whl', 'site-packages/torch']);
  run('tar', ['-czf', 'c.tar.gz', 'libtorch']);
  for (const name of ['a.zip', 'b.whl', 'c.tar.gz']) {
    const from = join(it.folder, name);
    assert.equal((await setup({ ...it.options, from })).installed, true, name);
    assert.ok(it.found()?.folder.startsWith(it.cache), name);
    assert.equal((await setup({ ...it.options, from })).installed, false, name);
  }
  assert.equal(it.found()?.version, '2.14.0');
});

test('an archive that holds no libtorch, is damaged or of an unknown kind is SETUP and leaves nothing', async (context) => {
  const it = world(context);
  writeFileSync(join(it.folder, 'damaged.zip'), 'PK\x03\x04');
  writeFileSync(join(it.folder, 'damaged.tar.gz'), 'x');
  writeFileSync(join(it.folder, 'libtorch.rar'), 'x');
  spawnSync('tar', ['-cf', 'empty.tar', 'project'], { cwd: it.folder });
  for (const name of [
    'damaged.zip',
    'damaged.tar.gz',
    'libtorch.rar',
    'empty.tar',
    'absent.zip',
    'project',
  ]) {
    await assert.rejects(setup({ ...it.options, from: join(it.folder, name) }), { code: 'SETUP' }, name);
  }
  assert.equal(existsSync(it.cache) ? readdirSync(it.cache).join() : '', '');
});

test('a version outside the supported ones is refused before anything is fetched', async (context) => {
  const it = world(context);
  for (const version of ['2.10.0', '2.15.0', '2.13', 'latest', '2.13.0; rm', '2.13.0 --pre']) {
    await assert.rejects(setup({ ...it.options, version }), { code: 'LIBTORCH_VERSION' }, version);
  }
  assert.deepEqual(it.pipCalls(), []);
});

test('when pip fails, its last lines are in the message and what was there stays', async (context) => {
  const it = world(context);
  await setup(it.options);
  const broken = world(context, 'echo "ERROR: no matching distribution"; exit 1');
  const environment = {
    ...it.options.environment,
    GRADCACHE_PYTHON: broken.options.environment.GRADCACHE_PYTHON,
  };
  const options = { ...it.options, environment, pipArguments: ['--no-index'] };
  await assert.rejects(setup(options), {
    code: 'SETUP',
    message: /torch==2\.13\.0 --no-index[^]*no matching distribution/,
  });
  assert.equal(it.found()?.version, '2.13.0+cpu');
  assert.deepEqual(readdirSync(it.cache).sort(), ['2.13.0', 'current']);
});

test('a missing Python or pip is named with the command that installs it', async (context) => {
  const it = world(context, 'echo "python: No module named pip" >&2; exit 1');
  await assert.rejects(setup(it.options), { code: 'SETUP', message: /apt-get install python3-pip/ });
  const environment = { ...it.options.environment, GRADCACHE_PYTHON: undefined, PATH: it.folder };
  await assert.rejects(setup({ ...it.options, environment }), {
    code: 'SETUP',
    message: /apt-get install python3/,
  });
});

test('what a killed run left behind is removed by the next', async (context) => {
  const it = world(context);
  mkdirSync(join(it.cache, '.2.13.0.999999999.tmp', 'torch'), { recursive: true });
  mkdirSync(join(it.cache, `.2.12.0.${process.pid}.tmp`), { recursive: true });
  await setup(it.options);
  assert.deepEqual(readdirSync(it.cache).sort(), [`.2.12.0.${process.pid}.tmp`, '2.13.0', 'current'].sort());
});

test('a version or pip options do not go together with a folder', async (context) => {
  const it = world(context);
  await assert.rejects(setup({ ...it.options, from: it.wheel, version: '2.13.0' }), { code: 'SETUP' });
});

test('what it is given to take is never written over', async (context) => {
  const it = world(context);
  // An archive kept in the folder that it would be unpacked into, under the very name.
  const kept = join(it.cache, 'libtorch.tar');
  mkdirSync(it.cache, { recursive: true });
  assert.equal(spawnSync('tar', ['-cf', kept, '-C', join(it.folder, 'site-packages'), 'torch']).status, 0);
  const before = readFileSync(kept);
  await assert.rejects(setup({ ...it.options, from: kept }), { code: 'SETUP', message: /Move the archive/ });
  assert.deepEqual(readFileSync(kept), before);
  // A folder that is where the link to it would be.
  const own = fakeLibtorch(join(it.project, '.libtorch'));
  const { installed } = await setup({ ...it.options, from: own, project: true });
  assert.equal(installed, false);
  assert.ok(existsSync(join(own, 'lib', 'libtorch_cpu.so')));
  assert.equal(it.found()?.folder, own);
});

test('a place that cannot be written is named, with the reason and the way out', async (context) => {
  const it = world(context);
  writeFileSync(join(it.folder, 'file'), '');
  const environment = { ...it.options.environment, GRADCACHE_CACHE: join(it.folder, 'file', 'cache') };
  for (const more of [{}, { from: it.wheel }]) {
    await assert.rejects(setup({ ...it.options, environment, ...more }), {
      code: 'SETUP',
      message: /file\/cache\/libtorch\/\S+ cannot be written: ENOTDIR.*a file where a folder is needed/,
    });
  }
});
