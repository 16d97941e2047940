import {
  access,
  constants,
  lstat,
  mkdir,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { GradCacheError } from '../errors.js';
import { ifAbsent, NOT_EMPTY, onCode, onFiles, succeeds } from './file-error.js';
import { flushFolder } from './file-handle.js';
import { makeFolders } from './make-folders.js';
import { show } from '../options/option-values.js';
import {
  bringBack,
  hasAside,
  isOwnEntry,
  setAsideInside,
  takePlaceInside,
  undoAbandoned,
  type Entries,
} from './replace-inside.js';
import { beside } from './names-beside.js';
import { HOLDER, removeHalfWritten, writeHolder } from './half-written.js';
import { inTurn } from './replace-file.js';
import { mergeAbandoned, mergeInto, type Belongs } from './set-aside.js';

/**
 * Replaces a folder as a whole. `write` fills `<path>.<writer>.tmp`; then the folder that was there is renamed to
 * `<path>.<writer>.old`, the new one to `path`, and the old one is removed. At every moment at least one complete folder
 * exists under one of the three names. Writes of one path take turns; where threads or processes write it at once, each
 * succeeds, and the last one stays. What the old folder held besides a model (see `belongs`) moves into the new one.
 *
 * A folder that cannot be renamed (a mount point, a folder of a container image, one in a folder without write access) stays,
 * and what is in it is replaced.
 *
 * @param belongs says of an entry of the old folder whether it is replaced, and so removed, by this write
 * @param recognise says from the names of its entries whether an existing folder may be replaced at all
 * @throws GradCacheError `INPUT` where `path` is a file, or a folder that `recognise` does not know, or the system refuses.
 */
export async function replaceFolder(path: string, options: Replacement): Promise<void> {
  if (typeof path !== 'string' || path === '')
    throw new GradCacheError('INPUT', `the folder to write is ${show(path)}, not a path`);
  await inTurn(path, async () => {
    // A link stays a link: what it points at is replaced.
    const target = await realpath(path).catch(() => whereNothingIs(path));
    const replacing = () => onFiles('INPUT', path, 'written', () => replace(path, target, options));
    await (target === resolve(path) ? replacing() : inTurn(target, replacing));
  });
}

/** The place of a folder that is not there yet. A link to nothing is refused: what it points at is likely not mounted. */
async function whereNothingIs(path: string): Promise<string> {
  const place = resolve(path);
  for (let here = place; ; here = dirname(here)) {
    const found = await lstat(here).catch(() => null);
    if (found === null && dirname(here) !== here) continue;
    if (found?.isSymbolicLink() && (await stat(here).catch(() => null)) === null)
      throw new GradCacheError(
        'INPUT',
        `${path} cannot be written: ${here} is a link to ${await readlink(here)}, which is not there. Mount or make it, or ` +
          'remove the link.',
      );
    return place;
  }
}

interface Replacement {
  readonly write: (folder: string) => Promise<void>;
  readonly recognise: (names: readonly string[]) => boolean;
  readonly belongs: Belongs;
}

async function replace(path: string, target: string, options: Replacement): Promise<void> {
  await mergeAbandoned(target, options.belongs);
  await removeHalfWritten(target);
  await removeHalfWritten(join(target, '.gradcache'));
  await removeHalfWritten(join(target, '.gradcache.turn'));
  await undoAbandoned(target, entriesOf(options));
  const before = await namesIn(target, path);
  if (before === undefined) await makeFolders(dirname(target));
  else requireKnown(path, before, options.recognise);
  const written = (await isFixed(target)) ? false : await replaceWhole(target, options);
  if (!written) await replaceInside(target, options);
}

function requireKnown(path: string, names: readonly string[], recognise: Replacement['recognise']): void {
  // A volume that is mounted there begins with lost+found.
  const others = names.filter((name) => !isOwnEntry(name) && name !== 'lost+found');
  if (others.length === 0 || recognise(others)) return;
  throw new GradCacheError(
    'INPUT',
    `${path} is a folder that holds no model (${others.slice(0, 5).join(', ')}${others.length > 5 ? ', …' : ''}); ` +
      'name a new or empty folder, or one with a model to replace.',
  );
}

/**
 * Whether the folder is there and must stay: a mount, one in a folder that this process may not change, or one that this
 * process is in, which would be left in a removed folder.
 */
async function isFixed(target: string): Promise<boolean> {
  const parent = dirname(target);
  const [here, above] = [await stat(target).catch(() => null), await stat(parent)];
  if (here === null) return false;
  const changeable = await succeeds(access(parent, constants.W_OK | constants.X_OK));
  return here.dev !== above.dev || !changeable || (await isInside(target));
}

async function isInside(target: string): Promise<boolean> {
  const working = await realpath('.').catch(() => ''); // the working folder itself may have been removed
  return working === target || working.startsWith(target + sep);
}

/** The codes of rename for a mount point, a folder in a lower layer of a container, and a folder of another user. */
const CANNOT_RENAME = ['EBUSY', 'EXDEV', 'EPERM', 'EACCES'];

/** Returns false, with nothing changed, where the folder cannot be renamed. */
async function replaceWhole(target: string, { write, belongs }: Replacement): Promise<boolean> {
  const fresh = beside(target, 'tmp');
  const old = beside(target, 'old');
  await rm(fresh, { recursive: true, force: true });
  try {
    await fill(fresh, write);
    await rm(join(fresh, HOLDER), { force: true });
    // Another thread or process may have put its folder there meanwhile: then that one is set aside.
    for (let done = false; !done;) {
      const wasThere = await setAside(target, old);
      if (wasThere === 'fixed') {
        await rm(fresh, { recursive: true, force: true });
        return false;
      }
      done = await put(fresh, target).catch(async (error: unknown) => {
        if (wasThere) await rename(old, target);
        throw error;
      });
      if (wasThere) await mergeInto(target, old, belongs);
    }
  } catch (error) {
    await rm(fresh, { recursive: true, force: true }).catch(() => undefined); // the first error tells more
    throw error;
  }
  await flushFolder(dirname(target));
  return true;
}

async function fill(fresh: string, write: Replacement['write']): Promise<void> {
  await mkdir(fresh);
  await writeHolder(fresh);
  await write(fresh);
  await flushFolder(fresh);
}

async function setAside(target: string, old: string): Promise<boolean | 'fixed'> {
  const moved = rename(target, old).then(() => true);
  return moved.catch(ifAbsent(false)).catch(onCode(CANNOT_RENAME, 'fixed' as const));
}

/** Returns false where another writer's folder has come in between. */
async function put(fresh: string, target: string): Promise<boolean> {
  return rename(fresh, target).then(() => true, onCode(NOT_EMPTY, false));
}

async function replaceInside(target: string, options: Replacement): Promise<void> {
  const fresh = beside(join(target, '.gradcache'), 'tmp');
  const entries = entriesOf(options);
  await rm(fresh, { recursive: true, force: true });
  try {
    await fill(fresh, options.write);
    await setAsideInside(target, entries);
    await takePlaceInside(target, fresh, entries).catch(async (error: unknown) => {
      await bringBack(target, entries);
      throw error;
    });
  } finally {
    await rm(fresh, { recursive: true, force: true }).catch(() => undefined);
  }
}

function entriesOf({ belongs, recognise }: Replacement): Entries {
  return { belongs, known: (name) => recognise([name]) };
}

/** A sentence about what an interrupted {@link replaceFolder} left of the model at `path`, and what to do; or undefined. */
export async function interruptedReplacement(path: string): Promise<string | undefined> {
  const target = resolve(path);
  const names = await readdir(dirname(target)).catch((): string[] => []);
  const prefix = `${basename(target)}.`;
  for (const left of names) {
    if (!left.startsWith(prefix) || !/^\d+\.old$/.test(left.slice(prefix.length))) continue;
    const within = await readdir(join(dirname(target), left)).catch((): string[] => []);
    if (!within.includes('config.json') && !within.includes('modules.json')) continue;
    return `${join(dirname(target), left)} beside it is a complete model that an interrupted save left: rename it back.`;
  }
  if (!(await hasAside(target))) return undefined;
  return 'A save that was interrupted has set aside what was in it, in .gradcache.old there: save again, or move it back.';
}

async function namesIn(target: string, path: string): Promise<string[] | undefined> {
  const names = await readdir(target)
    .catch(ifAbsent(undefined))
    .catch(onCode(['ENOTDIR'], null));
  if (names === null)
    throw new GradCacheError('INPUT', `${path} cannot be written as a folder: it is a file.`);
  return names;
}
