import { readFile } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { fileError, isSystemError } from './file-error.js';
import { placeholderIn } from './placeholder.js';
import { isJsonObject } from './strict-json.js';

/**
 * Reads a JSON file of a model folder.
 *
 * @returns the parsed content, or undefined where the file does not exist
 * @throws GradCacheError `CHECKPOINT`, naming the file, where it cannot be read or is not JSON.
 */
export async function readJsonFile(path: string): Promise<unknown> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError('CHECKPOINT', path, 'read', error);
  }
  try {
    // Not 'utf8' of readFile, which puts U+FFFD for what is none.
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)) as unknown;
  } catch (error) {
    const reason = placeholderIn(bytes) ?? (error as Error).message;
    throw new GradCacheError('CHECKPOINT', `${path} is not JSON: ${reason}.`, { cause: error });
  }
}

/**
 * Reads a JSON file that a setting names.
 *
 * @param what what its object is, for the message
 * @throws GradCacheError `INPUT`, naming the file, where it cannot be read or holds no JSON object
 */
export async function readNamedObject(path: string, what: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw fileError('INPUT', path, isSystemError(error) ? 'read' : 'read as JSON', error);
  }
  if (isJsonObject(value)) return value;
  throw new GradCacheError('INPUT', `${path} holds no JSON object; ${what} is one.`);
}

/** Like {@link readJsonFile}, for a file that must hold a JSON object where it exists. */
export async function readJsonObject(path: string): Promise<Record<string, unknown> | undefined> {
  const value = await readJsonFile(path);
  if (value !== undefined && !isJsonObject(value))
    throw new GradCacheError('CHECKPOINT', `${path} is not a JSON object.`);
  return value;
}
