import { access, mkdir, readdir, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { fileError } from '../file-error.js';
import { show } from '../option-values.js';
import { beside, inTurn, syncFolder } from './replace-file.js';

/**
 * Replaces a folder as a whole. `write` fills `<path>.<writer>.tmp`; then the folder that was there is renamed to
 * `<path>.<writer>.old`, the new one to `path`, and the old one is removed. At every moment at least one complete folder
 * exists under one of the three names. Writes of one path take turns. What the old folder held besides a model (see
 * `belongs`) moves into the new one.
 *
 * @param belongs says of an entry of the old folder whether it is replaced, and so removed, by this write
 * @param recognise says from the names of its entries whether an existing folder may be replaced at all
 * @throws GradCacheError `INPUT` where `path` is a file, or a folder that `recognise` does not know.
 */
export async function replaceFolder(path: string, options: Replacement): Promise<void> {
  if (typeof path !== 'string')
    throw new GradCacheError('INPUT', `the folder to write is ${show(path)}, not a path`);
  await inTurn(path, async () => {
    // A link stays a link: what it points at is replaced.
    const target = await realpath(path).catch(() => resolve(path));
    const replacing = () => replace(path, target, options);
    await (target === resolve(path) ? replacing() : inTurn(target, replacing));
  });
}

interface Replacement {
  readonly write: (folder: string) => Promise<void>;
  readonly recognise: (names: readonly string[]) => boolean;
  readonly belongs: (name: string) => boolean;
}

async function replace(path: string, target: string, options: Replacement): Promise<void> {
  const before = await namesIn(target);
  if (before !== undefined && before.length > 0 && !options.recognise(before)) {
    throw new GradCacheError(
      'INPUT',
      `${path} is a folder that holds no model (${before.slice(0, 5).join(', ')}${before.length > 5 ? ', …' : ''}); ` +
        'name a new or empty folder, or one with a model to replace.',
    );
  }
  const fresh = beside(target, 'tmp');
  const old = beside(target, 'old');
  await mkdir(dirname(target), { recursive: true }).catch((error: unknown) => {
    throw fileError('INPUT', path, 'written', error);
  });
  await rm(fresh, { recursive: true, force: true });
  try {
    await mkdir(fresh).catch((error: unknown) => {
      throw fileError('INPUT', path, 'written', error);
    });
    await options.write(fresh);
    await syncFolder(fresh);
    if (before === undefined) {
      await rename(fresh, target);
    } else {
      await rm(old, { recursive: true, force: true });
      await rename(target, old);
      await rename(fresh, target).catch(async (error: unknown) => {
        await rename(old, target);
        throw error;
      });
    }
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(dirname(target));
  if (before === undefined) return;
  for (const name of await readdir(old)) {
    if (!options.belongs(name) && !(await exists(join(target, name))))
      await rename(join(old, name), join(target, name));
  }
  await rm(old, { recursive: true, force: true });
}

/** A folder that an interrupted {@link replaceFolder} left beside `path`, or undefined. */
export async function interruptedReplacement(path: string): Promise<string | undefined> {
  const target = resolve(path);
  const names = await readdir(dirname(target)).catch((): string[] => []);
  const prefix = `${basename(target)}.`;
  const left = names.find((name) => name.startsWith(prefix) && /^\d+\.old$/.test(name.slice(prefix.length)));
  return left === undefined ? undefined : join(dirname(target), left);
}

async function namesIn(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    const reason = code === 'ENOTDIR' ? 'it is a file' : (error as Error).message;
    throw new GradCacheError('INPUT', `${path} cannot be written as a folder: ${reason}.`, { cause: error });
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
