import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { GradCacheError } from '../../errors.js';

/** The libtorch minors that the addon is built for, oldest first. */
export const SUPPORTED_MINORS: readonly string[] = ['2.11', '2.12', '2.13', '2.14'];

/** The version that `gradcache setup` installs when none is named. */
export const DEFAULT_LIBTORCH_VERSION = '2.13.0';

/** Name of the folder (or link) in a project that holds the project's own libtorch. */
export const PROJECT_LIBTORCH = '.libtorch';

/** What to do where a bundler has put this code into a file of its own, away from the addons. */
export const UNBUNDLE =
  'gradcache was bundled, and its addons were left behind: keep it out of the bundle (esbuild --external:gradcache) and ' +
  'install it where the bundle runs.';

/** The URL of this file. @throws GradCacheError `LIBTORCH_LOAD` in a bundle of CommonJS, where there is none */
function ownUrl(): string {
  const url = import.meta.url as string | undefined;
  if (url === undefined) throw new GradCacheError('LIBTORCH_LOAD', UNBUNDLE);
  return url;
}

/** Requires what lies in this package or is a dependency of it, whatever the program is. */
export function ownRequire(): NodeJS.Require {
  return createRequire(ownUrl());
}

/** The installed package's folder; of a bundle, the one that the bundle is in. */
export function packageRoot(): string {
  return ownFolder() ?? dirname(fileURLToPath(ownUrl()));
}

/** The nearest folder above this file whose package.json is gradcache's; null in a bundle. */
function ownFolder(): string | null {
  for (let folder = dirname(fileURLToPath(ownUrl())); ; folder = dirname(folder)) {
    if (isOwnManifest(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) return null;
  }
}

/** Whether this code lies elsewhere than the package it came in. */
export function isBundled(): boolean {
  return ownFolder() === null;
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
  if (isBundled()) return '(bundled)';
  const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
    version: string;
  };
  return manifest.version;
}

/**
 * The user's cache folder for gradcache: `GRADCACHE_CACHE`, else `$XDG_CACHE_HOME/gradcache`, else `~/.cache/gradcache`; null
 * for a user without a home.
 */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string | null {
  if (environment.GRADCACHE_CACHE) return resolve(environment.GRADCACHE_CACHE);
  if (environment.XDG_CACHE_HOME) return join(environment.XDG_CACHE_HOME, 'gradcache');
  const home = homeFolder();
  return home === null ? null : join(home, '.cache', 'gradcache');
}

/** The home folder. Containers may run a program without HOME, as a user whose number is in no list of users: then null. */
function homeFolder(): string | null {
  try {
    return homedir() || null;
  } catch {
    return null;
  }
}

/** The project a command runs in: the nearest folder upwards of `from` with a package.json, else `from` itself. */
export function projectFolder(from: string = process.cwd()): string {
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    if (isThere(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) return resolve(from);
  }
}

/** Whether a path exists. existsSync throws where Node's permission model forbids to look; what may not be seen is not used. */
function isThere(path: string): boolean {
  try {
    return existsSync(path);
  } catch {
    return false;
  }
}
