import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ownRequire, packageRoot } from './paths.js';

/** One addon on this machine, made for one libtorch minor. */
export interface AddonBuild {
  /** `source` for one compiled in this checkout, `prebuilt` for one that came with the package. */
  readonly kind: 'source' | 'prebuilt';
  /** The libtorch minor it was compiled against, for example `2.13`. */
  readonly minor: string;
  /** Path of the main addon. */
  readonly addon: string;
  /** Path of the boot addon, which opens libtorch's libraries before the main one is required. */
  readonly boot: string;
}

interface NodeGypBuild {
  resolve(folder: string): string;
}

/**
 * Every addon there is for this platform: what was compiled here, then the prebuilt ones, newest libtorch first.
 *
 * @param root folder of the package
 */
export function findBuilds(root: string = packageRoot()): AddonBuild[] {
  return [...compiledHere(root), ...prebuilt(root)];
}

function compiledHere(root: string): AddonBuild[] {
  const folder = join(root, 'build', 'Release');
  const addon = join(folder, 'gradcache.node');
  const boot = join(folder, 'boot', 'boot.node');
  if (!existsSync(addon) || !existsSync(boot)) return [];
  try {
    const info = JSON.parse(readFileSync(join(folder, 'build-info.json'), 'utf8')) as { minor?: unknown };
    return typeof info.minor === 'string' ? [{ kind: 'source', minor: info.minor, addon, boot }] : [];
  } catch {
    return []; // an unfinished build
  }
}

/** The platforms that the package brings addons for, as `linux-x64`. */
export function prebuiltPlatforms(root: string = packageRoot()): string[] {
  return namesIn(join(root, 'prebuilds', 'boot', 'prebuilds')).sort();
}

/** prebuilds/torch-<minor> and prebuilds/boot are each a folder as prebuildify writes and node-gyp-build reads them. */
function prebuilt(root: string): AddonBuild[] {
  const folder = join(root, 'prebuilds');
  const boot = resolvePrebuilt(join(folder, 'boot'));
  if (boot === null) return [];
  return namesIn(folder)
    .flatMap((name) => /^torch-(\d+\.\d+)$/.exec(name)?.[1] ?? [])
    .sort((a, b) => Number(b.split('.')[1]) - Number(a.split('.')[1]))
    .flatMap((minor) => {
      const addon = resolvePrebuilt(join(folder, `torch-${minor}`));
      return addon === null ? [] : [{ kind: 'prebuilt' as const, minor, addon, boot }];
    });
}

/** A folder that this user may not read counts as empty: the search goes on. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function resolvePrebuilt(folder: string): string | null {
  if (!existsSync(folder)) return null;
  const nodeGypBuild = ownRequire()('node-gyp-build') as NodeGypBuild;
  try {
    const path = nodeGypBuild.resolve(folder);
    // It also looks beside the node executable; only what came with this package is ours.
    return path.startsWith(folder) ? path : null;
  } catch {
    return null;
  }
}
