// `npm run prebuild`: everything native that the package is published with. (No script is called build: npm would run this
// one before it.)
//   prebuilds/torch-2.13/prebuilds/linux-x64/gradcache.glibc.node    the main addon, one for each supported libtorch minor
//   prebuilds/boot/prebuilds/linux-x64/boot.glibc.node               the boot addon, which is the same for all
//   prebuilds/cuda/linux-x64/libgradcache_cuda.so                    the CUDA kernels, which are the same for all
// Beside each lies a file `sources`, the digest of what it was made from. What is up to date is not made anew.
//   --only 2.13        only these parts: a minor, `addons` (every minor) or `cuda`; may be repeated
//   --libtorch FOLDER  a libtorch to compile against, in place of a download for its minor; may be repeated
// It needs no GPU and no installed libtorch: headers come from the wheels (prebuild-headers.mjs), kernels from nvcc.
//
// prebuildify writes and node-gyp-build reads the addons' layout in each of the folders: it knows no tag for libtorch, so the
// minor is the folder's name. CMake does the compiling; prebuildify gets a stand-in for node-gyp that hands it the result.
import { cpSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { addonSources, buildAddon } from './build-addon.mjs';
import { inspectBinary } from './prebuild-binary.mjs';
import { prebuildCuda } from './prebuild-cuda.mjs';
import { libtorchHeaders } from './prebuild-headers.mjs';
import { requireNccl } from './prebuild-nccl.mjs';
import { prepare } from './prepare.mjs';
import {
  Failure,
  filesUnder,
  fingerprint,
  main,
  readStamp,
  root,
  runBin,
  say,
  timed,
  writeStamp,
} from './tools.mjs';

const prebuilds = join(root, 'prebuilds');

/** Digest of everything the boot addon is compiled from. */
export function bootSources() {
  return fingerprint(filesUnder(['native/boot', 'CMakeLists.txt', 'native/cuda/glibc.cmake']));
}

/** Makes the prebuilt addons for one libtorch from those compiled in `out`, unless they are made from the same sources. */
export async function prebuild(libtorch, out = 'build') {
  const folder = join(prebuilds, `torch-${libtorch.minor}`);
  const boot = join(prebuilds, 'boot');
  const wanted = addonSources();
  const wantedBoot = bootSources();
  if (isMade(folder, wanted) && isMade(boot, wantedBoot)) return;
  await buildAddon(libtorch, { out });
  await timed(`prebuilt addon for libtorch ${libtorch.minor}`, () => {
    pack(join(root, out, 'Release', 'gradcache.node'), folder, 'gradcache', wanted);
    if (!isMade(boot, wantedBoot))
      pack(join(root, out, 'Release', 'boot', 'boot.node'), boot, 'boot', wantedBoot);
  });
}

function isMade(folder, sources) {
  return readStamp(join(folder, 'sources')) === sources && existsSync(join(folder, 'prebuilds'));
}

/** Packs an addon with prebuildify, which strips and moves what its node-gyp left in build/Release of a folder. */
function pack(addon, out, name, sources) {
  rmSync(out, { recursive: true, force: true });
  const stage = join(root, 'build', `prebuild-${name}`);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  cpSync(join(root, 'package.json'), join(stage, 'package.json'));
  const nodeGyp = join(root, 'scripts', 'prebuild-node-gyp.mjs');
  const options = [
    '--napi',
    '--strip',
    '--tag-libc',
    '--quiet',
    '--cwd',
    stage,
    '--out',
    out,
    '--name',
    name,
  ];
  runBin('prebuildify', options, { env: { PREBUILD_NODE_GYP: nodeGyp, GRADCACHE_PREBUILD_ADDON: addon } });
  rmSync(stage, { recursive: true, force: true });
  writeStamp(join(out, 'sources'), sources);
}

/** A line on a binary: its size, and the newest system symbols that it needs. */
function describe(path) {
  const { glibc, glibcxx } = inspectBinary(path);
  const size = (statSync(path).size / 1e6).toFixed(1);
  return `${relative(root, path)}: ${size} MB, GLIBC ${glibc}, GLIBCXX ${glibcxx ?? 'none'}`;
}

async function prebuildAll({ only = [], libtorch: folders = [] }) {
  await prepare('typescript');
  const { SUPPORTED_MINORS } = await import('../dist/lib/addon/runtime/paths.js');
  const { locateLibtorch, searchLibtorch } = await import('../dist/lib/addon/runtime/libtorch.js');
  const unknown = only.find((part) => !['addons', 'cuda', ...SUPPORTED_MINORS].includes(part));
  if (unknown !== undefined) {
    throw new Failure(
      `--only ${unknown}: there is no such part; parts are addons, cuda, ${SUPPORTED_MINORS.join(', ')}`,
    );
  }
  const all = only.length === 0;
  const given = folders.map((folder) => locateLibtorch({ libtorch: folder }));
  const here = searchLibtorch().libtorch;
  for (const minor of SUPPORTED_MINORS) {
    if (!all && !only.includes('addons') && !only.includes(minor)) continue;
    const libtorch =
      [...given, here].find((candidate) => candidate?.minor === minor) ??
      locateLibtorch({ libtorch: await libtorchHeaders(minor) });
    requireNccl(libtorch);
    await prebuild(libtorch, `build-torch-${minor}`);
  }
  if (all || only.includes('cuda')) await prebuildCuda();
  const binaries = filesUnder(['prebuilds'], /\.(node|so)$/).map((path) => join(root, path));
  for (const path of binaries) say(describe(path));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const several = { type: 'string', multiple: true };
    await prebuildAll(parseArgs({ options: { only: several, libtorch: several } }).values);
  });
}
