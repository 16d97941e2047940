import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { GradCacheError } from '../../errors.js';
import { reasonOf } from '../../options/realms.js';
import { INTERFACE } from '../interface.js';
import { type AddonBuild, findBuilds, prebuiltPlatforms } from './builds.js';
import type { LibtorchFolder } from './libtorch-folder.js';
import { locateLibtorch, type LocatedLibtorch } from './libtorch.js';
import { isBundled, ownRequire, packageRoot, packageVersion, UNBUNDLE } from './paths.js';
import { assertPlatform } from './platform.js';

/** The result of {@link loadAddon}. */
export interface LoadedAddon {
  /** The main addon's exports; lib/addon/native.ts gives them their types. */
  readonly addon: unknown;
  /** The libtorch that was loaded. */
  readonly libtorch: LocatedLibtorch;
  /** The file the main addon came from. */
  readonly addonPath: string;
}

interface BootAddon {
  open(paths: readonly string[], global: boolean): { path: string; error: string | null }[];
}

/**
 * Finds a libtorch, checks its version, opens its libraries and requires the addon made for it. Synchronous; may be called
 * from any thread, and again.
 *
 * @param options.libtorch folder of a libtorch to use instead of looking for one
 * @throws GradCacheError `LIBTORCH_NOT_FOUND`, `LIBTORCH_VERSION` (also when no addon was built for the libtorch found) or
 * `LIBTORCH_LOAD` (a library of libtorch, or the addon, does not open; or the platform cannot run one)
 */
export function loadAddon(options: { libtorch?: string | undefined } = {}): LoadedAddon {
  assertPlatform();
  const libtorch = locateLibtorch({ libtorch: options.libtorch });
  const build = chooseBuild(libtorch);
  preload(build, libtorch);
  return { addon: requireAddon(build.addon, libtorch), libtorch, addonPath: build.addon };
}

/**
 * The addon made for a libtorch's minor.
 *
 * @throws GradCacheError `LIBTORCH_VERSION`
 */
export function chooseBuild(
  libtorch: LocatedLibtorch,
  builds: readonly AddonBuild[] = findBuilds(),
  platforms: readonly string[] = prebuiltPlatforms(),
): AddonBuild {
  const build = builds.find((candidate) => candidate.minor === libtorch.minor);
  if (build !== undefined) return build;
  const minors = [...new Set(builds.map((candidate) => candidate.minor))];
  const fromSource = existsSync(join(packageRoot(), 'CMakeLists.txt'));
  throw new GradCacheError(
    'LIBTORCH_VERSION',
    [
      `No addon of gradcache ${packageVersion()} here was built for libtorch ${libtorch.minor}.`,
      `Found:     libtorch ${libtorch.version} in ${libtorch.folder} (${libtorch.source})`,
      `Built for: ${minors.length === 0 ? 'none' : minors.join(', ')}`,
      ...(minors.length === 0 ? forOthers(platforms) : []),
      ...(minors.length === 0 && isBundled() ? [UNBUNDLE] : []),
      ...(fromSource ? ['To build one for it:              npm run compile'] : []),
      ...minors
        .slice(0, 1)
        .map((m) => `To install a libtorch that fits:  npx gradcache setup --version ${m}.0`),
    ].join('\n'),
  );
}

/** For a machine that the package brings nothing for: what it does bring. */
function forOthers(platforms: readonly string[]): string[] {
  const here = `linux-${process.arch}`;
  if (platforms.length === 0 || platforms.includes(here)) return [];
  return [`This is ${here}; the package brings addons for ${platforms.join(', ')}.`];
}

/** Libraries of a libtorch in the order in which they are opened: each after those it needs. */
export function librariesOf(libtorch: LibtorchFolder): string[] {
  const cuda = libtorch.cuda ? ['libc10_cuda.so', 'libtorch_cuda.so'] : [];
  return ['libc10.so', 'libtorch_cpu.so', ...cuda, 'libtorch.so'].map((name) =>
    join(libtorch.folder, 'lib', name),
  );
}

/**
 * Opens libtorch's libraries by absolute path. The loader then resolves the addon's `libc10.so` and `libtorch_cpu.so` by
 * name, because it reuses an open library of the same soname. So the addon needs no search path and no LD_LIBRARY_PATH
 * (which would come too late in a running process). The libraries find theirs, such as libgomp and NVIDIA's, by the
 * relative paths they were linked with. Opening libtorch_cuda registers its CUDA kernels; the addon does not link to it.
 *
 * They are opened RTLD_LOCAL: the addon reaches them through its own dependencies, and other addons (with their own
 * protobuf or BLAS) do not get libtorch's symbols.
 */
function preload(build: AddonBuild, libtorch: LocatedLibtorch): void {
  const failed = openLibraries(build.boot, librariesOf(libtorch));
  if (failed !== null) throw loadError(failed.path, failed.error, libtorch);
}

/** Opens shared libraries for the life of the process through the boot addon; returns the first that does not open. */
export function openLibraries(
  boot: string,
  paths: readonly string[],
): { path: string; error: string } | null {
  let addon: BootAddon;
  try {
    addon = ownRequire()(boot) as BootAddon;
  } catch (error) {
    return { path: boot, error: reasonOf(error) };
  }
  const failed = addon.open(paths, false).find((library) => library.error !== null);
  return failed === undefined ? null : { path: failed.path, error: failed.error ?? '' };
}

function requireAddon(path: string, libtorch: LocatedLibtorch): unknown {
  let addon: unknown;
  try {
    addon = ownRequire()(path);
  } catch (error) {
    throw loadError(path, reasonOf(error), libtorch, error);
  }
  requireInterface(path, addon);
  return addon;
}

/** @throws GradCacheError `LIBTORCH_LOAD` for an addon that was compiled for other declarations than native.ts has */
export function requireInterface(path: string, addon: unknown): void {
  if ((addon as { interface?: unknown }).interface === INTERFACE) return;
  throw new GradCacheError(
    'LIBTORCH_LOAD',
    `${path} was compiled for another version of gradcache than this one, ${packageVersion()}. In a clone, compile it ` +
      'again: npm run compile. Elsewhere, install the package again: npm install gradcache',
  );
}

function loadError(path: string, reason: string, libtorch: LocatedLibtorch, cause?: unknown): GradCacheError {
  return new GradCacheError(
    'LIBTORCH_LOAD',
    [
      `${path} does not open: ${reason}`,
      `libtorch: ${libtorch.version} in ${libtorch.folder} (${libtorch.source})`,
      adviceFor(reason),
      'To see everything that was found: npx gradcache doctor',
    ].join('\n'),
    { cause },
  );
}

/** Node's message if it may open no addon, and what to do. */
export const NO_ADDONS = {
  when: /addons is disabled|--allow-addons/,
  wayOut:
    'Node was started with --no-addons, or with --permission alone: leave the former out, add --allow-addons to the latter',
};

const ADVICE: readonly (readonly [RegExp, string])[] = [
  [NO_ADDONS.when, NO_ADDONS.wayOut],
  [
    /lib(cu|nv|nccl|cusparseLt)[\w-]*\.so[\w.]*: cannot open/,
    'This CUDA build of libtorch needs a library of NVIDIA that is not beside it. Use the folder that pip installed in place ' +
      '(its nvidia/ folder is the neighbour of torch/), or install anew: npx gradcache setup',
  ],
  [/libgomp[\w.-]*: cannot open/, 'The OpenMP runtime is missing: apt-get install libgomp1'],
  [/libstdc\+\+[\w.-]*: cannot open/, 'The C++ runtime is missing: apt-get install libstdc++6'],
  [
    /version `GLIBC(XX)?_/,
    'This system is older than the one the library was built for: use a newer image (Debian 12, Ubuntu 22.04).',
  ],
  [
    /cannot open shared object file/,
    'The library named first is missing: install libtorch anew with npx gradcache setup',
  ],
  [
    /undefined symbol/,
    'The addon and this libtorch do not belong together: build anew with npm run compile, or run npx gradcache setup',
  ],
  [
    /file too short|invalid ELF header|wrong ELF class/,
    'The file is damaged or made for another machine: npx gradcache setup',
  ],
];

function adviceFor(reason: string): string {
  return (
    ADVICE.find(([pattern]) => pattern.test(reason))?.[1] ??
    'To install a libtorch that fits: npx gradcache setup'
  );
}
