/* Folders that a killed writer was filling: each can be as large as a model, and nothing else removes them. */
import { randomUUID } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { holder, isGone } from './holder.js';
import { placeOf } from './names-beside.js';

/** The file in a folder that is being replaced or filled that says who does it. */
export const HOLDER = '.gradcache.holder';

export async function writeHolder(folder: string): Promise<void> {
  await writeFile(join(folder, HOLDER), JSON.stringify(holder(randomUUID())));
}

/** What the holder file says; empty where there is none. */
export async function readHolderFile(folder: string): Promise<string> {
  return readFile(join(folder, HOLDER), 'utf8').catch(() => '');
}

/**
 * Removes what writers of `path` were filling beside it when they were killed. A folder stays unless its writer is known to
 * have ended: one of another system, or without a holder file.
 */
export async function removeHalfWritten(path: string): Promise<void> {
  const parent = dirname(path);
  for (const name of await readdir(parent).catch((): string[] => [])) {
    const found = placeOf(name);
    if (found?.kind !== 'tmp' || found.place !== basename(path)) continue;
    const folder = join(parent, name);
    // What cannot be removed is no reason not to write.
    if (isGone(await readHolderFile(folder)) === true)
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}
