import { closeSync, existsSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { reasonOf } from '../../options/realms.js';
import { SUPPORTED_MINORS } from './paths.js';

/** A folder that holds a libtorch: `lib/` with its shared libraries, and `include/` where it is complete enough to build against. */
export interface LibtorchFolder {
  /** Absolute path without symbolic links; `lib/libtorch_cpu.so` lies under it. */
  readonly folder: string;
  /** As the folder states it, for example `2.13.0+cpu`. */
  readonly version: string;
  /** The first two numbers of the version, for example `2.13`: what an addon build must match. */
  readonly minor: string;
  /** Whether it is a CUDA build (`lib/libtorch_cuda.so` is there). */
  readonly cuda: boolean;
}

/** What looking at a path gave: a usable libtorch, or the reason it is none (with the version where that is the reason). */
export type Inspection =
  | { readonly libtorch: LibtorchFolder }
  | { readonly libtorch: null; readonly reason: string; readonly version: string | null };

/**
 * Looks at a path without loading anything from it. The path may be the folder of a libtorch (`libtorch/` of an archive,
 * `site-packages/torch` of a wheel), its `lib/`, or a folder that holds it as `torch/` or `libtorch/`. Never throws.
 */
export function inspectLibtorch(path: string): Inspection {
  try {
    return inspect(resolve(path));
  } catch (error) {
    return unusable(reasonOf(error));
  }
}

function inspect(path: string): Inspection {
  if (!existsSync(path)) return unusable('does not exist');
  if (!statSync(path).isDirectory()) return unusable('is not a folder');
  const candidates = [path, join(path, 'torch'), join(path, 'libtorch')];
  if (basename(path) === 'lib') candidates.push(dirname(path));
  const holder = candidates.find((candidate) => existsSync(join(candidate, 'lib', 'libtorch_cpu.so')));
  if (holder === undefined) return unusable('holds no lib/libtorch_cpu.so');
  // Libraries opened late must come from the folder the first ones came from, wherever a link points by then.
  const folder = realpathSync(holder);

  const version = readVersion(folder);
  if (version === null) return unusable('has neither version.py nor build-version that states a version');
  const minor = /^\d+\.\d+/.exec(version)?.[0] ?? '';
  if (!SUPPORTED_MINORS.includes(minor)) {
    return unusable(`is libtorch ${version}, supported are ${SUPPORTED_MINORS.join(', ')}`, version);
  }
  for (const name of ['libc10.so', 'libtorch_cpu.so', 'libtorch.so']) {
    const problem = sharedLibraryProblem(join(folder, 'lib', name));
    if (problem !== null) return unusable(`lib/${name} ${problem}`);
  }
  const cuda = existsSync(join(folder, 'lib', 'libtorch_cuda.so'));
  return { libtorch: { folder, version, minor, cuda } };
}

function unusable(reason: string, version: string | null = null): Inspection {
  return { libtorch: null, reason, version };
}

/** A wheel states its version in version.py, an archive in build-version. */
function readVersion(folder: string): string | null {
  const wheel = /^__version__\s*=\s*['"](\d+\.\d+[\w.+-]*)['"]/m.exec(readStart(join(folder, 'version.py')));
  const archive = /^(\d+\.\d+[\w.+-]*)\s*$/m.exec(readStart(join(folder, 'build-version')));
  return wheel?.[1] ?? archive?.[1] ?? null;
}

const ELF_MACHINES: Readonly<Record<string, number>> = { x64: 0x3e, arm64: 0xb7 };

function sharedLibraryProblem(path: string): string | null {
  if (!existsSync(path)) return 'is missing';
  const header = Buffer.from(readStart(path, 20, 'latin1'), 'latin1');
  if (header.length < 20 || header.toString('latin1', 0, 4) !== '\x7fELF') return 'is not a shared library';
  if (header.readUInt16LE(18) !== ELF_MACHINES[process.arch]) return `is not built for ${process.arch}`;
  return null;
}

/** The first bytes of a file, or nothing where it cannot be read. A version is never further than this. */
function readStart(path: string, bytes = 4096, encoding: BufferEncoding = 'utf8'): string {
  try {
    const file = openSync(path, 'r');
    try {
      const buffer = Buffer.alloc(bytes);
      return buffer.toString(encoding, 0, readSync(file, buffer, 0, bytes, 0));
    } finally {
      closeSync(file);
    }
  } catch {
    return '';
  }
}
