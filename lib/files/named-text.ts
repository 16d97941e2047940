import { readFile } from 'node:fs/promises';
import { fileError } from './file-error.js';

/** Reads a file of text that a user names. @throws GradCacheError `INPUT` where it cannot be read */
export async function readNamedText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw fileError('INPUT', path, 'read', error);
  }
}
