import { chmod, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { beside } from '../files/names-beside.js';
import { openStream, placeOfOutput } from '../files/output-place.js';
import { GradCacheError } from '../errors.js';
import { fileError, onFiles } from '../files/file-error.js';
import { flush, flushFolder, moveOver, writeAll } from '../files/file-handle.js';

/** Where a command writes a result, piece by piece. */
export interface OutputFile {
  write(bytes: Buffer): Promise<void>;
  finish(): Promise<void>;
  /** Removes what has been written, where that can be done. */
  abandon(): Promise<void>;
}

/**
 * Opens an output. A regular file is written beside its place and renamed over it when it is complete, with the permissions
 * of the one that was there; a link stays, and the file it points at is replaced. Pipes and devices are written to.
 *
 * @throws GradCacheError `INPUT`
 */
export async function openOutputFile(path: string): Promise<OutputFile> {
  const place = await placeOfOutput(path);
  if (place.kind === 'file')
    return onFiles('INPUT', path, 'written', () => replacing(path, place.target, place.mode));
  const stream = await openStream(path);
  return {
    write: (bytes) => stream.write(bytes),
    finish: () => stream.close(),
    abandon: () => stream.close().catch(() => undefined),
  };
}

/** A file beside the target, which takes its place once it is complete. */
async function replacing(path: string, target: string, mode: number | undefined): Promise<OutputFile> {
  const temporary = beside(target, 'tmp');
  const file = await open(temporary, 'w');
  let complete = false; // from then on it is the result, and is never removed
  const output: OutputFile = {
    write: (bytes) => onFiles('INPUT', path, 'written', () => writeAll(file, bytes)),
    async finish() {
      await onFiles('INPUT', path, 'written', async () => {
        await flush(file);
        await file.close();
      });
      complete = true;
      try {
        await moveOver(temporary, target);
      } catch (error) {
        const { code, message } = fileError('INPUT', path, 'written', error);
        const kept = `The complete result is in ${temporary}: move it from there.`;
        throw new GradCacheError(code, `${message} ${kept}`, { cause: error });
      }
      await onFiles('INPUT', path, 'written', () => flushFolder(dirname(target)));
    },
    async abandon() {
      await file.close().catch(() => undefined);
      if (!complete) await rm(temporary, { force: true });
    },
  };
  try {
    if (mode !== undefined) await chmod(temporary, mode & 0o777);
    return output;
  } catch (error) {
    await output.abandon();
    throw error;
  }
}
