/*
 * Replaces the entries of a folder that cannot itself be renamed. They are first moved into a folder within it; when all of
 * the new ones stand, that folder is given another name, which settles the matter, and is removed.
 */
import { cp, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { flushFolder } from '../file-handle.js';
import type { Belongs } from './set-aside.js';

/** What an unfinished replacement has taken away; making it is what gives one writer the turn. */
const ASIDE = '.gradcache.old';
/** The same after a finished one. */
const DONE = '.gradcache.done';

/** Another writer changes something in the folder within this many milliseconds, or was killed. */
const ABANDONED_AFTER = 60_000;

/** Whether a replacement of what is in the folder was not finished. */
export async function hasAside(target: string): Promise<boolean> {
  return stat(join(target, ASIDE)).then(
    () => true,
    () => false,
  );
}

/** Whether an entry of a folder is one of those that replacing leaves for a while. */
export function isOwnEntry(name: string): boolean {
  return /^\.gradcache\.(old|done|\d+\.tmp)$/.test(name);
}

/** Moves the entries of a model out of the way, those that it is `known` by first. Other writers wait for `takePlace`. */
export async function setAsideInside(target: string, belongs: Belongs, known: Belongs): Promise<void> {
  await takeTurn(target);
  await rm(join(target, DONE), { recursive: true, force: true });
  try {
    const names = (await readdir(target)).filter((name) => belongs(name) && !isOwnEntry(name));
    for (const name of [...names.filter(known), ...names.filter((name) => !known(name))])
      await move(join(target, name), join(target, ASIDE, name));
  } catch (error) {
    await bringBack(target);
    throw error;
  }
}

/** Moves the new entries in, those that a model is `known` by last, and removes what was set aside. */
export async function takePlaceInside(target: string, fresh: string, known: Belongs): Promise<void> {
  const names = await readdir(fresh);
  for (const name of [...names.filter((name) => !known(name)), ...names.filter(known)])
    await move(join(fresh, name), join(target, name));
  await flushFolder(target);
  await rename(join(target, ASIDE), join(target, DONE));
  await rm(join(target, DONE), { recursive: true, force: true });
}

/** Puts back what an unfinished replacement has set aside. */
export async function bringBack(target: string): Promise<void> {
  const aside = join(target, ASIDE);
  for (const name of await readdir(aside)) {
    await rm(join(target, name), { recursive: true, force: true });
    await move(join(aside, name), join(target, name));
  }
  await rm(aside, { recursive: true });
}

async function takeTurn(target: string): Promise<void> {
  for (;;) {
    await undoAbandoned(target);
    try {
      await mkdir(join(target, ASIDE));
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** Waits until nobody replaces entries of the folder; what a killed writer has set aside is put back. */
export async function undoAbandoned(target: string): Promise<void> {
  for (;;) {
    const status = await stat(join(target, ASIDE)).catch(() => null);
    if (status === null) return;
    if (Date.now() - status.mtimeMs > ABANDONED_AFTER) await bringBack(target);
    else await wait(20);
  }
}

/** Folders of a container image's layers can be copied, but not renamed. */
async function move(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await cp(from, to, { recursive: true, preserveTimestamps: true });
    await rm(from, { recursive: true, force: true });
  }
}
