import { chmod, type FileHandle, open, readlink, realpath, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { beside } from '../files/names-beside.js';
import { GradCacheError } from '../errors.js';
import { fileError, onFiles } from '../files/file-error.js';
import { flush, flushFolder, moveOver, writeAll } from '../files/file-handle.js';

/** Where a command writes a result, piece by piece. */
export interface OutputFile {
  write(bytes: Buffer): Promise<void>;
  /** Writes over the beginning. Absent for a pipe or device: what is written there is gone. */
  writeBeginning?(bytes: Buffer): Promise<void>;
  finish(): Promise<void>;
  /** Removes what has been written, where that can be done. */
  abandon(): Promise<void>;
}

const STREAMS: Readonly<Record<string, 'stdout' | 'stderr'>> = {
  '/dev/stdout': 'stdout',
  '/dev/fd/1': 'stdout',
  '/proc/self/fd/1': 'stdout',
  '/dev/stderr': 'stderr',
  '/dev/fd/2': 'stderr',
  '/proc/self/fd/2': 'stderr',
};

/** Which stream of this process a path is, if any. */
export function streamOf(path: string): 'stdout' | 'stderr' | undefined {
  return STREAMS[resolve(path)];
}

/**
 * Opens an output. A regular file is written beside its place and renamed over it when it is complete, with the permissions
 * of the one that was there; a link stays, and the file it points at is replaced. Pipes and devices are written to.
 *
 * @throws GradCacheError `INPUT`
 */
export async function openOutputFile(path: string): Promise<OutputFile> {
  const stream = streamOf(path);
  if (stream !== undefined) return toStream(path, process[stream]);
  return onFiles('INPUT', path, 'written', async () => {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (found?.isDirectory()) throw new GradCacheError('INPUT', `${path} is a folder; name a file to write.`);
    if (found !== undefined && !found.isFile()) return toDevice(path, await open(path, 'w'));
    return replacing(path, await targetOf(path), found?.mode);
  });
}

/** The file that a path stands for: what its links point at, whether or not that is there. */
async function targetOf(path: string): Promise<string> {
  for (let here = resolve(path), links = 0; links < 40; links++) {
    const next = await readlink(here).catch(() => undefined);
    if (next === undefined) return realpath(dirname(here)).then(() => here);
    here = resolve(await realpath(dirname(here)), next);
  }
  throw new GradCacheError('INPUT', `${path} cannot be written: its links point in a circle.`);
}

/** A file beside the target, which takes its place once it is complete. */
async function replacing(path: string, target: string, mode: number | undefined): Promise<OutputFile> {
  const temporary = beside(target, 'tmp');
  const file = await open(temporary, 'w');
  let complete = false; // from then on it is the result, and is never removed
  const output: OutputFile = {
    write: (bytes) => onFiles('INPUT', path, 'written', () => writeAll(file, bytes)),
    writeBeginning: (bytes) =>
      onFiles('INPUT', path, 'written', async () => void (await file.write(bytes, 0, bytes.byteLength, 0))),
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

function toDevice(path: string, file: FileHandle): OutputFile {
  return {
    write: (bytes) => onFiles('INPUT', path, 'written', () => writeAll(file, bytes)),
    finish: () => onFiles('INPUT', path, 'written', () => file.close()),
    abandon: () => file.close().catch(() => undefined),
  };
}

/** Standard output or error, to which other parts of the process write as well; it stays open. */
function toStream(path: string, stream: NodeJS.WriteStream): OutputFile {
  return {
    write: (bytes) =>
      new Promise((done, fail) => {
        stream.write(bytes, (error) => (error ? fail(fileError('INPUT', path, 'written', error)) : done()));
      }),
    finish: () => Promise.resolve(),
    abandon: () => Promise.resolve(),
  };
}
