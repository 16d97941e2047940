import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder and those above it that are missing; says whether it made the folder. Node's own way, `recursive`, never
 * ends where the system has no such file for a folder that it will not make in one that is there, as in /proc.
 */
export async function makeFolders(path: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && dirname(path) !== path && (await makeFolders(dirname(path))))
      return makeFolders(path);
    // Where the file system can hold nothing, it may say so of a folder that is there.
    const there = code !== 'ENOENT' && (await stat(path).catch(() => null))?.isDirectory() === true;
    if (!there) throw error;
    return false;
  }
}
