import { readFile } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { fileError } from '../file-error.js';
import { isJsonObject } from './strict-json.js';

/**
 * Reads a JSON file of a model folder.
 *
 * @returns the parsed content, or undefined where the file does not exist
 * @throws GradCacheError `CHECKPOINT`, naming the file, where it cannot be read or is not JSON.
 */
export async function readJsonFile(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError('CHECKPOINT', path, 'read', error);
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new GradCacheError('CHECKPOINT', `${path} is not JSON: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

/** Like {@link readJsonFile}, for a file that must hold a JSON object where it exists. */
export async function readJsonObject(path: string): Promise<Record<string, unknown> | undefined> {
  const value = await readJsonFile(path);
  if (value !== undefined && !isJsonObject(value))
    throw new GradCacheError('CHECKPOINT', `${path} is not a JSON object.`);
  return value;
}
