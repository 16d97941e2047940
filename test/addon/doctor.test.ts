import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { formatDoctor } from '../../lib/addon/runtime/doctor-report.js';
import { doctor, type DoctorReport } from '../../lib/addon/runtime/doctor.js';
import { loadAddon } from '../../lib/addon/runtime/load.js';
import { fakeLibtorch, fakeProgram, libraryNeeding, temporaryFolder } from './fake-libtorch.js';

function codes(report: DoctorReport): string[] {
  return report.problems.map((problem) => problem.code);
}

/** Nothing set, nothing installed, no Python: PATH has only what the folder holds. */
function emptyWorld(context: TestContext) {
  const folder = temporaryFolder(context);
  return {
    environment: { PATH: folder, GRADCACHE_CACHE: join(folder, 'cache') },
    workingFolder: folder,
    root: folder,
  };
}

test('where all is well, the report says what was found and loaded', async () => {
  const report = await doctor();
  assert.deepEqual(report.problems, []);
  assert.equal(report.ok, true);
  assert.ok(report.load?.ok);
  assert.ok(report.load.devices.includes('cpu'));
  assert.ok(report.load.libraries.some((path) => path.endsWith('libtorch_cpu.so')));
  assert.equal(report.builds.filter((build) => build.matches).length, 1);
  assert.deepEqual(JSON.parse(JSON.stringify(report)), report, 'the report is plain data');
  const text = formatDoctor(report);
  assert.match(text, /libtorch {3}2\.\d+/);
  assert.match(text, /Everything that is needed is here\.$/);
});

test('without a libtorch, it names the places, the missing tools and the command that installs', async (context) => {
  const report = await doctor(emptyWorld(context));
  assert.equal(report.ok, false);
  assert.equal(report.load, null);
  assert.deepEqual(codes(report), ['LIBTORCH_NOT_FOUND']);
  const text = formatDoctor(report);
  assert.match(text, /python +python3 is not on PATH/);
  assert.match(text, /npx gradcache setup/);
  assert.match(text, /cmake +not found \(apt-get install cmake\)/);
});

test('a libtorch of another minor than the addons is reported with both', async (context) => {
  const folder = fakeLibtorch(temporaryFolder(context), { version: '2.13.0' });
  const report = await doctor({ ...emptyWorld(context), libtorch: folder });
  assert.deepEqual(codes(report), ['LIBTORCH_VERSION']);
  assert.match(formatDoctor(report), /Built for: none/);
});

test('a package without an addon for this machine says which machines it has one for', async (context) => {
  const world = emptyWorld(context);
  mkdirSync(join(world.root, 'prebuilds', 'boot', 'prebuilds', 'linux-riscv64'), { recursive: true });
  const folder = fakeLibtorch(temporaryFolder(context), { version: '2.13.0' });
  const report = await doctor({ ...world, libtorch: folder });
  assert.deepEqual(report.platforms, ['linux-riscv64']);
  const text = formatDoctor(report);
  assert.match(text, /^package +brings addons for linux-riscv64$/m);
  assert.match(text, new RegExp(`^addons +none for linux-${process.arch}$`, 'm'));
  assert.match(
    text,
    new RegExp(`This is linux-${process.arch}; the package brings addons for linux-riscv64\\.`),
  );
});

test('an unsupported libtorch is reported with its version', async (context) => {
  const folder = fakeLibtorch(temporaryFolder(context), { version: '2.8.0' });
  const report = await doctor({ libtorch: folder });
  assert.deepEqual(codes(report), ['LIBTORCH_VERSION']);
  assert.match(formatDoctor(report), /libtorch 2\.8\.0 is not supported/);
});

test('a missing shared library is named', async (context) => {
  const { version } = loadAddon().libtorch;
  const folder = fakeLibtorch(temporaryFolder(context), { version });
  writeFileSync(join(folder, 'lib', 'libc10.so'), libraryNeeding('libnvshmem_host.so.3'));
  const report = await doctor({ libtorch: folder });
  assert.deepEqual(codes(report), ['LIBTORCH_LOAD']);
  assert.match(formatDoctor(report), /libnvshmem_host\.so\.3: cannot open shared object file/);
  assert.match(formatDoctor(report), /needs a library of NVIDIA/);
});

test('a crash while loading ends the child, not the caller, and is reported', async (context) => {
  const crash = join(temporaryFolder(context), 'crash.cjs');
  writeFileSync(crash, `process.kill(process.pid, 'SIGSEGV');`);
  const report = await doctor({ environment: { ...process.env, NODE_OPTIONS: `--require ${crash}` } });
  assert.deepEqual(codes(report), ['LIBTORCH_LOAD']);
  assert.match(report.problems[0]?.message ?? '', /ended by SIGSEGV/);
});

test('on musl, that is the first problem and nothing is loaded', async () => {
  const platform = { system: 'linux', architecture: 'x64', glibc: null };
  const report = await doctor({ platform });
  assert.equal(report.load, null);
  assert.equal(codes(report)[0], 'LIBTORCH_LOAD');
  assert.match(formatDoctor(report), /musl/);
});

test('GPUs are reported as the driver names them', async (context) => {
  const it = emptyWorld(context);
  fakeProgram(join(it.root, 'nvidia-smi'), 'echo "NVIDIA H100 80GB HBM3, 580.95.05, 9.0, 81559, 81000"');
  const report = await doctor(it);
  const memory = { total: 81559 * 2 ** 20, free: 81000 * 2 ** 20 };
  const gpu = { name: 'NVIDIA H100 80GB HBM3', driver: '580.95.05', capability: '9.0', memory };
  assert.deepEqual(report.gpus, [gpu]);
  assert.match(
    formatDoctor(report),
    /gpu +NVIDIA H100 80GB HBM3, compute capability 9\.0, driver 580\.95\.05, 79\.1 GiB free of 79\.6 GiB/,
  );
});

test('without nvidia-smi, GPUs are reported from what the driver tells about itself', async (context) => {
  const it = emptyWorld(context);
  const driverFolder = join(it.root, 'driver');
  mkdirSync(join(driverFolder, 'gpus', '0000:04:00.0'), { recursive: true });
  const version =
    'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs)\n';
  writeFileSync(join(driverFolder, 'version'), version);
  writeFileSync(
    join(driverFolder, 'gpus', '0000:04:00.0', 'information'),
    'Model: \t\t NVIDIA H200\nIRQ:   \t 12\n',
  );
  const report = await doctor({ ...it, driverFolder });
  assert.equal(report.driver, '580.95.05');
  assert.deepEqual(report.gpus, [
    { name: 'NVIDIA H200', driver: '580.95.05', capability: null, memory: null },
  ]);
  assert.match(formatDoctor(report), /gpu +NVIDIA H200, driver 580\.95\.05\n/);
});

test('the library of CUDA kernels is reported: where it lies and whether it opens', async (context) => {
  const report = await doctor();
  assert.ok(report.load?.ok);
  assert.deepEqual(report.load.kernels, { path: report.kernels, error: null });
  assert.match(
    formatDoctor(report),
    report.kernels === null ? /kernels +none for CUDA/ : /kernels +\S+\.so opens/,
  );
  const none = await doctor(emptyWorld(context));
  assert.equal(none.kernels, null);
});

test('a device that is not there is CUDA_UNAVAILABLE, with the reason', async () => {
  const report = await doctor({ device: 'cuda:63' });
  assert.deepEqual(codes(report), ['CUDA_UNAVAILABLE']);
  assert.match(report.problems[0]?.message ?? '', /Device cuda:63 is not there; there is cpu/);
  assert.equal((await doctor({ device: 'cpu' })).ok, true);
});

test('a process that may load no addons, or start no others, is told so', () => {
  const doctorUrl = JSON.stringify(new URL('../../lib/addon/runtime/doctor.js', import.meta.url).href);
  const program = `const { doctor } = await import(${doctorUrl}); console.log(JSON.stringify((await doctor()).problems));`;
  const problems = (...flags: string[]): string => {
    const env = { ...process.env, NODE_NO_WARNINGS: '1' };
    const run = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', program], {
      encoding: 'utf8',
      env,
    });
    return run.stdout + run.stderr;
  };
  assert.match(problems('--no-addons'), /^\[\{"code":"LIBTORCH_LOAD","message":"[^"]*--no-addons/);
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';
  assert.match(
    problems(permission, '--allow-fs-read=*', '--allow-fs-write=*'),
    /"code":"LIBTORCH_LOAD","message":"[^"]*--allow-child-process and --allow-addons/,
  );
});
