import { open, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { threadId } from 'node:worker_threads';
import { fileError } from '../file-error.js';

/**
 * Writes a file so that a crash leaves either the old or the new one, never half of one: `write` fills
 * `<path>.<writer>.tmp`, which is flushed to the disk and then renamed to `path`. Writes of one path take turns.
 *
 * @param write gets the open temporary file; if it throws, the temporary file is removed and `path` is untouched.
 * @throws GradCacheError `INPUT` where the file cannot be made
 */
export function replaceFile(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  return inTurn(path, () => replace(path, write));
}

const last = new Map<string, Promise<unknown>>();

/** Runs one write of a path after the other. */
export function inTurn<T>(path: string, run: () => Promise<T>): Promise<T> {
  const key = resolve(path);
  const result = (last.get(key) ?? Promise.resolve()).then(run);
  const settled = result
    .catch(() => undefined)
    .finally(() => {
      if (last.get(key) === settled) last.delete(key);
    });
  last.set(key, settled);
  return result;
}

/** What a path is called while this thread of this process writes it. */
export function beside(path: string, kind: 'tmp' | 'old'): string {
  return `${path}.${process.pid}${threadId === 0 ? '' : String(threadId).padStart(6, '0')}.${kind}`;
}

async function replace(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = beside(path, 'tmp');
  const file = await open(temporary, 'w').catch((error: unknown) => {
    throw fileError('INPUT', path, 'written', error);
  });
  try {
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Flushes the entries of a folder, so that a rename in it outlives a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
