import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The libtorch minors that the addon is built for, oldest first. */
export const SUPPORTED_MINORS: readonly string[] = ['2.11', '2.12', '2.13', '2.14'];

/** The version that `gradcache setup` installs when none is named. */
export const DEFAULT_LIBTORCH_VERSION = '2.13.0';

/** Name of the folder (or link) in a project that holds the project's own libtorch. */
export const PROJECT_LIBTORCH = '.libtorch';

/** The installed package's folder: the nearest one above this file whose package.json is gradcache's. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!isOwnManifest(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    // Bundled into one file: there is no manifest, and prebuilds/ is expected beside the bundle.
    if (parent === folder) return dirname(fileURLToPath(import.meta.url));
    folder = parent;
  }
  return folder;
}

function isOwnManifest(path: string): boolean {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as { name?: unknown }).name === 'gradcache';
  } catch {
    return false;
  }
}

/** The version of this package, as its package.json states it. */
export function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
    version: string;
  };
  return manifest.version;
}

/** The user's cache folder for gradcache: `GRADCACHE_CACHE`, else `$XDG_CACHE_HOME/gradcache`, else `~/.cache/gradcache`. */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment.GRADCACHE_CACHE) return resolve(environment.GRADCACHE_CACHE);
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'gradcache');
}

/** The project a command runs in: the nearest folder upwards of `from` with a package.json, else `from` itself. */
export function projectFolder(from: string = process.cwd()): string {
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) return resolve(from);
  }
}
