import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder and the missing ones above it, and says whether it made the folder. Node's `recursive` never ends in a
 * folder such as /proc, where the system says ENOENT of every new folder.
 */
export async function makeFolders(path: string): Promise<boolean> {
  try {
    return await makeOne(path);
  } catch (error) {
    if (!isMissing(error) || dirname(path) === path) throw error;
  }
  await makeFolders(dirname(path));
  return makeOne(path);
}

async function makeOne(path: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    // A read-only file system may refuse even a folder that is there.
    if (isMissing(error)) throw error;
    const found = await stat(path).catch((reason: unknown) => {
      if (isMissing(reason)) return null;
      throw reason;
    });
    if (found?.isDirectory() !== true) throw error;
    return false;
  }
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';
