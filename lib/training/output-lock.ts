import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, rmdir, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { threadId } from 'node:worker_threads';
import { GradCacheError } from '../errors.js';
import { fileError } from '../file-error.js';
import { isAlive } from '../process-alive.js';

/** Its name in the output folder. */
const LOCK_FILE = 'train.lock';

/** A run writes its lock anew this often, in milliseconds, which shows other machines that it is alive. */
const BEAT = 10_000;

/** A run of another machine that has not done so for this long is over. */
const SILENCE = 60_000;

/** Who holds an output folder. */
interface Holder {
  readonly id: string;
  readonly host: string;
  /** Processes of one system see each other by their numbers; those of another do not. */
  readonly system: string;
  readonly pid: number;
  /** When the process started, in the system's own count: numbers of processes come again. */
  readonly started: string | null;
  readonly thread: number;
  readonly since: string;
}

/** Locks that runs of this thread hold. */
const held = new Set<string>();

/**
 * Keeps an output folder for one run: a second one would remove what the first is writing. The lock is a file that says
 * which process made it, so that one left by a process that was killed holds nobody up.
 */
export class OutputLock {
  readonly #path: string;
  readonly #text: string;
  readonly #file: FileHandle;
  readonly #timer: NodeJS.Timeout;

  private constructor(
    readonly output: string,
    readonly id: string,
    text: string,
    file: FileHandle,
    readonly madeFolder: boolean,
  ) {
    this.#path = join(output, LOCK_FILE);
    this.#text = text;
    this.#file = file;
    held.add(id);
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
    const made = await mkdir(output, { recursive: true }).catch((error: unknown) => {
      throw fileError('INPUT', output, 'made a folder', error);
    });
    const path = join(output, LOCK_FILE);
    const id = randomUUID();
    const text = `${JSON.stringify(holder(id), null, 2)}\n`;
    for (;;) {
      const file = await openNew(path);
      if (file !== null) {
        await file.write(text, 0).catch(async (error: unknown) => {
          await file.close();
          await rm(path, { force: true });
          throw fileError('INPUT', path, 'written', error);
        });
        return new OutputLock(output, id, text, file, made !== undefined);
      }
      const found = await readFile(path, 'utf8').catch(() => null);
      if (found === null) continue; // its run has just ended
      if (!(await isOver(path, found))) throw inUse(output, readHolder(found));
      await remove(path, found, id);
    }
  }

  /**
   * To be called before anything is written: a process that was stopped for long can have lost the folder to another.
   *
   * @throws GradCacheError `INPUT`
   */
  async require(): Promise<void> {
    const found = await readFile(this.#path, 'utf8').catch(() => this.#text); // one that a user removed was ours
    const other = readHolder(found);
    if (other?.id !== this.id) throw inUse(this.output, other);
  }

  /** Gives the folder back, and removes it where this run made it and left nothing in it. */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    held.delete(this.id);
    await this.#file.close().catch(() => undefined);
    const found = await readFile(this.#path, 'utf8').catch(() => '');
    if (readHolder(found)?.id === this.id) await rm(this.#path, { force: true }).catch(() => undefined);
    if (this.madeFolder) await rmdir(this.output).catch(() => undefined); // fails where there is something in it
  }
}

function holder(id: string): Holder {
  return {
    id,
    host: hostname(),
    system: thisSystem(),
    pid: process.pid,
    started: startOf(process.pid),
    thread: threadId,
    since: new Date().toISOString(),
  };
}

/** The running kernel and the part of its processes that this one sees: containers have parts of their own. */
function thisSystem(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

/** When a process started, or null where that cannot be seen. */
function startOf(pid: number): string | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program, in parentheses, can hold anything; what comes after the last one are numbers.
    return fields.slice(fields.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

async function openNew(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null;
    throw fileError('INPUT', path, 'written', error);
  }
}

/** Null for half a lock: its process is just writing it, or was killed at that. */
function readHolder(text: string): Holder | null {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return null;
  }
}

async function isOver(path: string, text: string): Promise<boolean> {
  const found = readHolder(text);
  if (found === null || found.system !== thisSystem()) return isSilent(path);
  if (found.pid !== process.pid) return !runs(found);
  if (found.started !== startOf(process.pid)) return true;
  if (found.thread === threadId) return !held.has(found.id);
  return isSilent(path); // a worker thread may have been terminated
}

/** Whether the process runs, and is no other that has got its number. */
function runs({ pid, started }: Holder): boolean {
  if (!isAlive(pid)) return false;
  const now = startOf(pid);
  return now === null || started === null || now === started;
}

/** By the clock of the file system: those of two machines need not agree. */
async function isSilent(path: string): Promise<boolean> {
  const probe = `${path}.${randomUUID()}`;
  try {
    const file = await open(probe, 'wx');
    const now = await file.stat().finally(() => file.close());
    return now.mtimeMs - (await stat(path)).mtimeMs > SILENCE;
  } catch {
    return false;
  } finally {
    await rm(probe, { force: true });
  }
}

/** Removes a lock that is over; one that another run has put in its place meanwhile is put back. */
async function remove(path: string, over: string, id: string): Promise<void> {
  const aside = `${path}.${id}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw fileError('INPUT', path, 'removed', error);
  }
  const moved = await readFile(aside, 'utf8');
  if (moved === over) await rm(aside, { force: true });
  else await rename(aside, path);
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
