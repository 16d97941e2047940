import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder and those above it that are missing; says whether it made the folder. Node's own way, `recursive`, never
 * ends where the system has no such file for a folder that it will not make in one that is there, as in /proc.
 */
export async function makeFolders(path: string): Promise<boolean> {
  try {
    return await makeOne(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error;
  }
  await makeFolders(dirname(path));
  return makeOne(path);
}

async function makeOne(path: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    // A file system that takes nothing may say so of a folder that is there.
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (missing || (await stat(path).catch(() => null))?.isDirectory() !== true) throw error;
    return false;
  }
}
