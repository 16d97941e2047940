import { rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { onFiles } from '../files/file-error.js';
import { thisSystem, type Holder } from '../files/holder.js';
import { LockFile, SILENCE } from '../files/lock-file.js';
import { makeFolders } from '../files/make-folders.js';

/** Its name in the output folder. */
const LOCK_FILE = 'train.lock';

/** Keeps an output folder for one run: a second one would remove what the first is writing. */
export class OutputLock {
  private constructor(
    readonly output: string,
    readonly lock: LockFile,
    readonly madeFolder: boolean,
  ) {}

  /**
   * Takes the folder, which is made where it does not exist.
   *
   * @throws GradCacheError `INPUT` where another run has it, or it cannot be made
   */
  static async take(output: string): Promise<OutputLock> {
    let made = false;
    for (let tries = 0; tries < 100; tries++) {
      // Each time: a run that failed removes the folder that it made.
      made = (await onFiles('INPUT', output, 'made a folder', () => makeFolders(output))) || made;
      const found = await LockFile.attempt(join(output, LOCK_FILE));
      if (found === null) continue;
      if ('holder' in found) throw inUse(output, found.holder);
      return new OutputLock(output, found, made);
    }
    throw inUse(output, null);
  }

  /**
   * To be called before anything is written: a process that was stopped for long can have lost the folder to another.
   *
   * @throws GradCacheError `INPUT`
   */
  async require(): Promise<void> {
    const other = await this.lock.takenBy();
    if (other !== undefined) throw inUse(this.output, other.holder);
  }

  /** Gives the folder back, and removes it where this run made it and left nothing in it. */
  async release(): Promise<void> {
    await this.lock.release();
    if (this.madeFolder) await rmdir(this.output).catch(() => undefined); // fails where there is something in it
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
