import { lstat, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { ifAbsent, isThere, NOT_EMPTY, onCode } from './file-error.js';
import { isAlive } from '../processes/process-alive.js';
import { asideBy } from './names-beside.js';

/** Says of an entry of a folder whether it is a model's, and goes with it; what is left is the user's. */
export type Belongs = (name: string) => boolean;

/** A writer keeps a folder aside for moments. After this many milliseconds without a change, another process has its number. */
const ABANDONED_AFTER = 10_000;

/**
 * Moves the user's entries of a folder that was set aside into the one that took its place, and removes the rest with it.
 * What has a namesake in the new folder was replaced by it.
 */
export async function mergeInto(target: string, old: string, belongs: Belongs): Promise<void> {
  await empty(target, old, belongs, (entry) => rm(entry, { recursive: true, force: true }));
}

/**
 * Brings back what writers that were killed have set aside beside a folder: where there is no folder, theirs becomes it;
 * else the user's entries move into it. One that has a namesake there stays where it is.
 */
export async function mergeAbandoned(target: string, belongs: Belongs): Promise<void> {
  const parent = dirname(target);
  for (const name of await readdir(parent).catch((): string[] => [])) {
    const writer = asideBy(basename(target), name);
    const old = join(parent, name);
    if (writer === undefined || !(await isAbandoned(old, writer))) continue;
    if (await isThere(target)) await empty(target, old, belongs, async () => undefined);
    else await rename(old, target).catch(onCode(['ENOENT', ...NOT_EMPTY], undefined));
  }
}

async function isAbandoned(old: string, { pid, thread }: { pid: number; thread: number }): Promise<boolean> {
  if (!isAlive(pid) || (pid === process.pid && thread === threadId)) return true;
  const status = await lstat(old).catch(() => null);
  return status !== null && Date.now() - status.ctimeMs > ABANDONED_AFTER;
}

async function empty(
  target: string,
  old: string,
  belongs: Belongs,
  onNamesake: (entry: string) => Promise<void>,
): Promise<void> {
  // More than once: another writer's entry can arrive in the folder at the moment in which it is set aside.
  for (let rounds = 0; rounds < 10; rounds++) {
    for (const name of await readdir(old).catch((): string[] => [])) {
      const entry = join(old, name);
      if (belongs(name)) await rm(entry, { recursive: true, force: true });
      else if (await isThere(join(target, name))) await onNamesake(entry);
      else await moveInto(target, entry);
    }
    await rmdir(old).catch(() => undefined);
    if (!(await isThere(old))) return;
  }
}

/** Another writer can be about to put the folder there. */
async function moveInto(target: string, entry: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    const moved = rename(entry, join(target, basename(entry))).then(() => true);
    if (await (tries < 100 ? moved.catch(ifAbsent(false)) : moved)) return;
    if (!(await isThere(entry))) return; // another writer has moved it
    await wait(20);
  }
}
