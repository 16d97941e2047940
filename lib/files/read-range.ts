import { type FileHandle, open } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { requireString } from '../options/option-values.js';
import { fileError } from './file-error.js';
import { faultIn } from './file-fault.js';
import { readInto } from './file-handle.js';

/** Opens a file of tensors, which is closed again whatever happens. @throws GradCacheError `CHECKPOINT`, naming the file */
export async function withFile<T>(
  path: string,
  use: (file: FileHandle, path: string) => Promise<T>,
): Promise<T> {
  requireString('path', path);
  try {
    const file = await open(path, 'r');
    try {
      return await use(file, path);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof GradCacheError) throw error;
    throw fileError('CHECKPOINT', path, 'read', error);
  }
}

/**
 * Reads exactly these bytes; the caller has compared the range with the size of the file.
 *
 * @throws GradCacheError `OUT_OF_MEMORY`, and `CHECKPOINT` for a file that has become shorter meanwhile
 */
export async function readRange(
  file: FileHandle,
  path: string,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = new Uint8Array(length);
  } catch (error) {
    throw new GradCacheError('OUT_OF_MEMORY', `No memory for ${length} bytes of ${path}.`, { cause: error });
  }
  const done = await readInto(file, bytes, offset);
  if (done < length) throw faultIn(path, `it ended at byte ${offset + done} while it was being read`);
  return bytes;
}
