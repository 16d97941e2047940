import { randomUUID } from 'node:crypto';
import { type FileHandle, open, readFile, rm, stat } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { fileError, ifAbsent, onCode, onFiles } from './file-error.js';
import { holder, readHolder, runs, startOf, thisSystem, type Holder } from './holder.js';

/** The holder of a lock writes it anew this often, in milliseconds, which shows other machines that it is alive. */
const BEAT = 10_000;

/** A holder on another machine that has not done so for this long, in milliseconds, is over. */
export const SILENCE = 60_000;

/** Removing a lock takes moments; who has been at it for this long was killed. */
const TURN = 10_000;

/** Locks that this thread holds. */
const held = new Set<string>();

/** Who has a lock that could not be taken; null where that cannot be told. */
export interface HeldBy {
  readonly holder: Holder | null;
}

/**
 * A lock: a file that says which thread of which process made it, so that one left by a process that was killed holds nobody
 * up.
 */
export class LockFile {
  readonly #timer: NodeJS.Timeout;

  private constructor(
    readonly path: string,
    readonly id: string,
    readonly text: string,
    readonly file: FileHandle,
  ) {
    this.#timer = setInterval(() => {
      // Where the disk is gone, the holder's own writing says so.
      file.write(text, 0).catch(() => undefined);
    }, BEAT);
    this.#timer.unref();
  }

  /**
   * Takes a lock, whose folder is there.
   *
   * @returns the lock, or who has it; null where that has changed meanwhile: then try again
   * @throws GradCacheError `INPUT` where the file cannot be written
   */
  static async attempt(path: string): Promise<LockFile | HeldBy | null> {
    const file = await openNew(path);
    if (file === null) return whoHas(path);
    const id = randomUUID();
    const text = `${JSON.stringify(holder(id), null, 2)}\n`;
    held.add(id);
    try {
      await file.write(text, 0);
      return new LockFile(path, id, text, file);
    } catch (error) {
      held.delete(id);
      await file.close();
      await rm(path, { force: true });
      throw fileError('INPUT', path, 'written', error);
    }
  }

  /** Who has taken the lock meanwhile; undefined where nobody has. A process that was stopped for long can have lost it. */
  async takenBy(): Promise<HeldBy | undefined> {
    const found = await readFile(this.path, 'utf8').catch(() => this.text); // one that a user removed was ours
    const other = readHolder(found);
    return other?.id === this.id ? undefined : { holder: other };
  }

  /** Gives the lock back. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    held.delete(this.id);
    await this.file.close().catch(() => undefined);
    const found = await readFile(this.path, 'utf8').catch(() => '');
    if (readHolder(found)?.id === this.id) await rm(this.path, { force: true }).catch(() => undefined);
  }
}

/** Who has the lock. Null where nobody has: one whose holder is over is removed. */
async function whoHas(path: string): Promise<HeldBy | null> {
  const found = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent(null)));
  if (found === null) return null;
  if (!(await isOver(path, found))) return { holder: readHolder(found) };
  await removeOver(path, found);
  return null;
}

/** Null where there is a file of this name already, or its folder has just gone. */
async function openNew(path: string): Promise<FileHandle | null> {
  const taken = onCode(['EEXIST', 'ENOENT'], null);
  return onFiles('INPUT', path, 'written', () => open(path, 'wx').catch(taken));
}

async function isOver(path: string, text: string): Promise<boolean> {
  const found = readHolder(text);
  if (found === null || found.system !== thisSystem()) return isSilent(path);
  if (found.pid !== process.pid) return !runs(found);
  if (found.started !== startOf(process.pid)) return true;
  if (found.thread === threadId) return !held.has(found.id);
  return isSilent(path); // a worker thread may have been terminated
}

/** Whether nobody has written the lock for long. */
async function isSilent(path: string): Promise<boolean> {
  return (await ageOf(path)) > SILENCE;
}

/** Milliseconds since a file was written, by the clock of its file system: those of two machines need not agree. */
async function ageOf(path: string): Promise<number> {
  const probe = `${path}.${randomUUID()}`;
  try {
    const file = await open(probe, 'wx');
    const now = await file.stat().finally(() => file.close());
    return now.mtimeMs - (await stat(path)).mtimeMs;
  } catch {
    return 0;
  } finally {
    await rm(probe, { force: true });
  }
}

/**
 * Removes a lock whose holder is over. One process at a time does so, and looks again first: what it would remove can be the
 * lock of another one by then, which came to the same conclusion a moment earlier.
 */
async function removeOver(path: string, over: string): Promise<void> {
  const turn = `${path}.turn`;
  const file = await openNew(turn);
  if (file === null) {
    await wait(20);
    if ((await ageOf(turn)) > TURN) await rm(turn, { force: true }); // its process was killed at that
    return;
  }
  try {
    const now = await readFile(path, 'utf8').catch(() => null);
    if (now === over) await rm(path, { force: true });
  } finally {
    await file.close();
    await rm(turn, { force: true });
  }
}
