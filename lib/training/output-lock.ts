import { randomUUID } from 'node:crypto';
import { type FileHandle, open, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { GradCacheError } from '../errors.js';
import { fileError, ifAbsent, onCode, onFiles } from '../files/file-error.js';
import { holder, readHolder, runs, startOf, thisSystem, type Holder } from '../files/holder.js';
import { makeFolders } from '../files/make-folders.js';

/** Its name in the output folder. */
const LOCK_FILE = 'train.lock';

/** A run writes its lock anew this often, in milliseconds, which shows other machines that it is alive. */
const BEAT = 10_000;

/** A run of another machine that has not done so for this long is over. */
const SILENCE = 60_000;

/** Removing a lock takes moments; who has been at it for this long was killed. */
const TURN = 10_000;

/** Locks that runs of this thread hold. */
const held = new Set<string>();

/**
 * Keeps an output folder for one run: a second one would remove what the first is writing. The lock is a file that says
 * which process made it, so that one left by a process that was killed holds nobody up.
 */
export class OutputLock {
  readonly #timer: NodeJS.Timeout;

  private constructor(
    readonly output: string,
    readonly path: string,
    readonly id: string,
    readonly text: string,
    readonly file: FileHandle,
    readonly madeFolder: boolean,
  ) {
    this.#timer = setInterval(() => {
      // Where the disk is gone, the run's own writing says so.
      file.write(text, 0).catch(() => undefined);
    }, BEAT);
    this.#timer.unref();
  }

  /**
   * Takes the folder, which is made where it does not exist.
   *
   * @throws GradCacheError `INPUT` where another run has it, or it cannot be made
   */
  static async take(output: string): Promise<OutputLock> {
    const path = join(output, LOCK_FILE);
    const id = randomUUID();
    const text = `${JSON.stringify(holder(id), null, 2)}\n`;
    let made = false;
    for (let tries = 0; tries < 100; tries++) {
      // Each time: a run that failed removes the folder that it made.
      made = (await onFiles('INPUT', output, 'made a folder', () => makeFolders(output))) || made;
      const file = await openNew(path);
      if (file === null) {
        await requireOver(output, path);
        continue;
      }
      held.add(id);
      try {
        await file.write(text, 0);
        return new OutputLock(output, path, id, text, file, made);
      } catch (error) {
        held.delete(id);
        await file.close();
        await rm(path, { force: true });
        throw fileError('INPUT', path, 'written', error);
      }
    }
    throw inUse(output, null);
  }

  /**
   * To be called before anything is written: a process that was stopped for long can have lost the folder to another.
   *
   * @throws GradCacheError `INPUT`
   */
  async require(): Promise<void> {
    const found = await readFile(this.path, 'utf8').catch(() => this.text); // one that a user removed was ours
    const other = readHolder(found);
    if (other?.id !== this.id) throw inUse(this.output, other);
  }

  /** Gives the folder back, and removes it where this run made it and left nothing in it. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    held.delete(this.id);
    await this.file.close().catch(() => undefined);
    const found = await readFile(this.path, 'utf8').catch(() => '');
    if (readHolder(found)?.id === this.id) await rm(this.path, { force: true }).catch(() => undefined);
    if (this.madeFolder) await rmdir(this.output).catch(() => undefined); // fails where there is something in it
  }
}

/** Removes the lock of a run that is over. @throws GradCacheError `INPUT` for that of one that is not */
async function requireOver(output: string, path: string): Promise<void> {
  const found = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent(null)));
  if (found === null) return; // its run has just ended
  if (!(await isOver(path, found))) throw inUse(output, readHolder(found));
  await removeOver(path, found);
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
 * Removes the lock of a run that is over. One process at a time does so, and looks again first: what it would remove can be
 * the lock of another one by then, which came to the same conclusion a moment earlier.
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

function inUse(output: string, other: Holder | null): GradCacheError {
  const who =
    other === null
      ? 'another run has just taken it'
      : `process ${other.pid} on ${other.host} has been training into it since ${other.since}`;
  const far =
    other === null || other.system === thisSystem()
      ? ''
      : ` A run on another machine or in another container counts as ended ${SILENCE / 1000} s after its last sign of life.`;
  return new GradCacheError(
    'INPUT',
    `${resolve(output)} is in use: ${who}. Wait for the end of that run, or give another output folder.${far}`,
  );
}
