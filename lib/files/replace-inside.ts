/*
 * Replaces the entries of a folder that cannot itself be renamed. The old entries are first moved into a folder within it.
 * When all new ones are in place, that folder is renamed, which completes the replacement, and then removed.
 */
import { cp, readdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ifAbsent, isThere, NOT_EMPTY, onCode, succeeds } from './file-error.js';
import { flushFolder } from './file-handle.js';
import { isGone } from './holder.js';
import { makeFolders } from './make-folders.js';
import { beside } from './names-beside.js';
import { HOLDER, readHolderFile, writeHolder } from './half-written.js';
import type { Belongs } from './set-aside.js';

/** The folder that holds what an unfinished replacement has moved away. The writer that makes it has the turn. */
const ASIDE = '.gradcache.old';
/** The name of that folder after a finished replacement. */
const DONE = '.gradcache.done';

/** A file in that folder while the new entries move in: all old ones have been set aside. */
const COMPLETE = '.gradcache.complete';
/** A copy that is not whole yet. */
const PART = '.gradcache.part';

/** A writer on another system that changes nothing in the folder for this many milliseconds counts as killed. */
const ABANDONED_AFTER = 60_000;

/** Which entries of a folder are replaced. */
export interface Entries {
  readonly belongs: Belongs;
  /** The entries that a model is recognised by. They leave first and come last: half of a model is not taken for one. */
  readonly known: Belongs;
}

/** Whether a replacement of what is in the folder was not finished. */
export async function hasAside(target: string): Promise<boolean> {
  return isThere(join(target, ASIDE));
}

/** Whether an entry of a folder is one of those that replacing leaves for a while. */
export function isOwnEntry(name: string): boolean {
  return /^\.gradcache\.(old|done|part|holder|complete|(turn\.)?\d+\.tmp)$/.test(name);
}

/** Moves the entries of a model out of the way. Other writers wait for `takePlace`. */
export async function setAsideInside(target: string, entries: Entries): Promise<void> {
  const aside = join(target, ASIDE);
  await takeTurn(target, entries);
  await rm(join(target, DONE), { recursive: true, force: true });
  try {
    const names = (await readdir(target)).filter((name) => entries.belongs(name) && !isOwnEntry(name));
    for (const name of knownLast(names, entries).reverse()) await move(join(target, name), join(aside, name));
    await writeFile(join(aside, COMPLETE), '');
  } catch (error) {
    await bringBack(target, entries);
    throw error;
  }
}

/** Moves the new entries in, and removes what was set aside. */
export async function takePlaceInside(target: string, fresh: string, entries: Entries): Promise<void> {
  const names = (await readdir(fresh)).filter((name) => !isOwnEntry(name));
  for (const name of knownLast(names, entries)) await move(join(fresh, name), join(target, name));
  await flushFolder(target);
  await rename(join(target, ASIDE), join(target, DONE));
  await rm(join(target, DONE), { recursive: true, force: true });
}

/** Puts back what an unfinished replacement has set aside; all of the new model is removed before. */
export async function bringBack(target: string, entries: Entries): Promise<void> {
  const aside = join(target, ASIDE);
  const old = (await readdir(aside)).filter((name) => !isOwnEntry(name));
  if (await isThere(join(aside, COMPLETE))) {
    const fresh = (await readdir(target)).filter((name) => entries.belongs(name) && !isOwnEntry(name));
    for (const name of knownLast(fresh, entries).reverse())
      await rm(join(target, name), { recursive: true, force: true });
    // From here on, what is in the folder is old again.
    await rm(join(aside, COMPLETE), { force: true });
  }
  for (const name of knownLast(old, entries)) {
    await rm(join(target, name), { recursive: true, force: true });
    await move(join(aside, name), join(target, name));
  }
  await rm(aside, { recursive: true });
}

function knownLast(names: readonly string[], { known }: Entries): string[] {
  return [...names.filter((name) => !known(name)), ...names.filter(known)];
}

/** The folder that gives the turn comes with the name of its writer in it: a rename onto one that is not empty fails. */
async function takeTurn(target: string, entries: Entries): Promise<void> {
  const turn = beside(join(target, '.gradcache.turn'), 'tmp');
  try {
    for (;;) {
      await undoAbandoned(target, entries);
      await makeFolders(turn);
      await writeHolder(turn);
      const taken = rename(turn, join(target, ASIDE)).then(() => true);
      if (await taken.catch(onCode(NOT_EMPTY, false))) return;
    }
  } finally {
    await rm(turn, { recursive: true, force: true });
  }
}

/** Waits until nobody replaces entries of the folder; what a killed writer has set aside is put back. */
export async function undoAbandoned(target: string, entries: Entries): Promise<void> {
  const aside = join(target, ASIDE);
  for (;;) {
    const status = await stat(aside).catch(() => null);
    // One without a holder and without entries, as earlier versions began with, gives nobody the turn.
    if (status === null || (await succeeds(rmdir(aside)))) return;
    const text = await readHolderFile(aside);
    const gone = isGone(text) ?? Date.now() - status.mtimeMs > ABANDONED_AFTER;
    if (gone && (await takeOver(aside, text))) await bringBack(target, entries);
    else await wait(20);
  }
}

/** If several find a writer gone, one of them gets its turn. */
async function takeOver(aside: string, gone: string): Promise<boolean> {
  const file = join(aside, HOLDER);
  if (gone !== '') {
    const taken = join(aside, PART);
    const found = await rename(file, taken)
      .then(() => readFile(taken, 'utf8'))
      .catch(ifAbsent(null));
    if (found !== gone) {
      if (found !== null) await rename(taken, file).catch(ifAbsent(undefined)); // another was faster by a moment
      return false;
    }
  }
  await writeHolder(aside);
  return true;
}

/** Folders of a container image's layers can be copied, but not renamed. Half a copy never has the name of a whole one. */
async function move(from: string, to: string): Promise<void> {
  const moved = await rename(from, to).then(() => true, onCode(['EXDEV'], false));
  if (moved) return;
  const part = join(dirname(to), PART);
  await rm(part, { recursive: true, force: true });
  await cp(from, part, { recursive: true, preserveTimestamps: true });
  await rename(part, to);
  await rm(from, { recursive: true, force: true });
}
