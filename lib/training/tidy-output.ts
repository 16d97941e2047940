import { existsSync } from 'node:fs';
import { readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileError } from '../file-error.js';
import { isPartOfCheckpoint } from './checkpoint.js';

/**
 * Puts `output` in order after a run that was killed while it wrote: what was half written is removed, and a folder that
 * had been set aside for one that never came is put back. Files of the user's own in a folder set aside are moved to where
 * they were. To be called with the folder locked: what another run is writing looks the same.
 *
 * @throws GradCacheError `INPUT`
 */
export async function tidyOutput(output: string): Promise<void> {
  for (const name of await readdir(output).catch(() => [] as string[])) {
    // A checkpoint's model is written in a folder that is itself half written: two endings.
    const match = /^(checkpoint-\d+|model)\.\d+\.(tmp|old)(\.\d+\.(?:tmp|old))?$/.exec(name);
    if (match === null) continue;
    const [, place, kind, inner] = match as unknown as [string, string, string, string | undefined];
    const left = join(output, name);
    try {
      if (kind === 'tmp' || inner !== undefined) await rm(left, { recursive: true, force: true });
      else await bringBack(left, join(output, place));
    } catch (error) {
      throw fileError('INPUT', left, 'put in order', error);
    }
  }
}

async function bringBack(old: string, place: string): Promise<void> {
  if (!existsSync(place)) {
    await rename(old, place);
    return;
  }
  for (const name of await readdir(old)) {
    if (isPartOfCheckpoint(name)) await rm(join(old, name), { recursive: true, force: true });
    else if (!existsSync(join(place, name))) await rename(join(old, name), join(place, name));
  }
  // What has got a namesake in the new folder stays here: it belongs to no model, so it is not this run's to remove.
  if ((await readdir(old)).length === 0) await rmdir(old);
}
