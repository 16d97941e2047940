import { type FileHandle, open, readlink, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { fileError, onFiles } from './file-error.js';
import { writeAll } from './file-handle.js';

/** Where an output goes: to a stream of this process, to a pipe or device, or into a regular file. */
export type OutputPlace =
  | { readonly kind: 'stream' | 'device' }
  | {
      readonly kind: 'file';
      /** The file that the path stands for: what its links point at, whether or not that is there. */
      readonly target: string;
      /** Permissions of the file that is there. */
      readonly mode: number | undefined;
    };

const STREAMS: Readonly<Record<string, 'stdout' | 'stderr'>> = {
  '/dev/stdout': 'stdout',
  '/dev/fd/1': 'stdout',
  '/proc/self/fd/1': 'stdout',
  '/dev/stderr': 'stderr',
  '/dev/fd/2': 'stderr',
  '/proc/self/fd/2': 'stderr',
};

/** Which stream of this process a path is, if any. As for inputs, `-` is the standard one. */
export function streamOf(path: string): 'stdout' | 'stderr' | undefined {
  return path === '-' ? 'stdout' : STREAMS[resolve(path)];
}

/** Where an output goes. @throws GradCacheError `INPUT` for a folder, and for a path that leads nowhere */
export async function placeOfOutput(path: string): Promise<OutputPlace> {
  if (streamOf(path) !== undefined) return { kind: 'stream' };
  return onFiles('INPUT', path, 'written', async () => {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (found?.isDirectory()) throw new GradCacheError('INPUT', `${path} is a folder; name a file to write.`);
    if (found !== undefined && !found.isFile()) return { kind: 'device' };
    return { kind: 'file', target: await targetOf(path), mode: found?.mode };
  });
}

async function targetOf(path: string): Promise<string> {
  for (let here = resolve(path), links = 0; links < 40; links++) {
    const next = await readlink(here).catch(() => undefined);
    if (next === undefined) return realpath(dirname(here)).then(() => here);
    here = resolve(await realpath(dirname(here)), next);
  }
  throw new GradCacheError('INPUT', `${path} cannot be written: its links point in a circle.`);
}

/** What is written to as it comes, and cannot be taken back. */
export interface OutputStream {
  write(bytes: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** Opens a stream of this process, or a pipe or device. */
export async function openStream(path: string): Promise<OutputStream> {
  const name = streamOf(path);
  if (name !== undefined) return toStream(path, process[name]);
  return toDevice(path, await onFiles('INPUT', path, 'written', () => open(path, 'w')));
}

function toDevice(path: string, file: FileHandle): OutputStream {
  return {
    write: (bytes) => onFiles('INPUT', path, 'written', () => writeAll(file, bytes)),
    close: () => onFiles('INPUT', path, 'written', () => file.close()),
  };
}

/** Standard output or error, to which other parts of the process write as well; it stays open. */
function toStream(path: string, stream: NodeJS.WriteStream): OutputStream {
  return {
    write: (bytes) =>
      new Promise((done, fail) => {
        stream.write(bytes, (error) => (error ? fail(fileError('INPUT', path, 'written', error)) : done()));
      }),
    close: () => Promise.resolve(),
  };
}
