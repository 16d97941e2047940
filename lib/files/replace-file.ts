import { type FileHandle, open, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { onFiles } from './file-error.js';
import { flush, flushFolder, moveOver } from './file-handle.js';
import { beside } from './names-beside.js';

/**
 * Writes a file so that a crash leaves either the old or the new one, never half of one: `write` fills
 * `<path>.<writer>.tmp`, which is flushed to the disk and then renamed to `path`. Writes of one path take turns. Only a file
 * that cannot be replaced, because it is a mount point, is written over where it is.
 *
 * @param write gets the open temporary file; if it throws, the temporary file is removed and `path` is untouched.
 * @throws GradCacheError `INPUT` where the system refuses (no such folder, no right, a full disk); what `write` throws passes
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

async function replace(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = beside(path, 'tmp');
  await onFiles('INPUT', path, 'written', async () => {
    const file = await open(temporary, 'w');
    try {
      try {
        await write(file);
        await flush(file);
      } finally {
        await file.close();
      }
      await moveOver(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined); // the first error tells more
      throw error;
    }
    await flushFolder(dirname(path));
  });
}
