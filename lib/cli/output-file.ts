import { chmod, open, readlink, realpath, rm, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { beside } from '../files/names-beside.js';
import { GradCacheError } from '../errors.js';
import { fileError, onFiles } from '../files/file-error.js';
import { flush, flushFolder, moveOver, writeAll } from '../files/file-handle.js';

/** Where a command writes a result, piece by piece. */
export interface OutputFile {
  /** False for a pipe or device: what is written there is gone, and its beginning cannot be written last. */
  readonly canGoBack: boolean;
  write(bytes: Buffer): Promise<void>;
  /** Writes over the beginning. */
  writeBeginning(bytes: Buffer): Promise<void>;
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
  if (stream !== undefined) return new StreamOutput(path, process[stream]);
  return onFiles('INPUT', path, 'written', async () => {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (found?.isDirectory()) throw new GradCacheError('INPUT', `${path} is a folder; name a file to write.`);
    if (found !== undefined && !found.isFile()) return new DeviceOutput(path, await open(path, 'w'));
    const target = await targetOf(path);
    return ReplacingOutput.open(path, target, found?.mode);
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

class ReplacingOutput implements OutputFile {
  readonly canGoBack = true;
  /** From then on it is the result, and is never removed. */
  #complete = false;

  private constructor(
    readonly path: string,
    readonly target: string,
    readonly temporary: string,
    readonly file: FileHandle,
  ) {}

  static async open(path: string, target: string, mode: number | undefined): Promise<OutputFile> {
    const temporary = beside(target, 'tmp');
    const file = await open(temporary, 'w');
    const output = new ReplacingOutput(path, target, temporary, file);
    try {
      if (mode !== undefined) await chmod(temporary, mode & 0o777);
      return output;
    } catch (error) {
      await output.abandon();
      throw error;
    }
  }

  write(bytes: Buffer): Promise<void> {
    return onFiles('INPUT', this.path, 'written', () => writeAll(this.file, bytes));
  }

  writeBeginning(bytes: Buffer): Promise<void> {
    return onFiles('INPUT', this.path, 'written', async () => {
      await this.file.write(bytes, 0, bytes.byteLength, 0);
    });
  }

  async finish(): Promise<void> {
    await onFiles('INPUT', this.path, 'written', async () => {
      await flush(this.file);
      await this.file.close();
    });
    this.#complete = true;
    try {
      await moveOver(this.temporary, this.target);
    } catch (error) {
      const { code, message } = fileError('INPUT', this.path, 'written', error);
      const kept = `The complete result is in ${this.temporary}: move it from there.`;
      throw new GradCacheError(code, `${message} ${kept}`, { cause: error });
    }
    await onFiles('INPUT', this.path, 'written', () => flushFolder(dirname(this.target)));
  }

  async abandon(): Promise<void> {
    await this.file.close().catch(() => undefined);
    if (!this.#complete) await rm(this.temporary, { force: true });
  }
}

class DeviceOutput implements OutputFile {
  readonly canGoBack = false;

  constructor(
    readonly path: string,
    readonly file: FileHandle,
  ) {}

  write(bytes: Buffer): Promise<void> {
    return onFiles('INPUT', this.path, 'written', () => writeAll(this.file, bytes));
  }

  writeBeginning(): Promise<void> {
    return Promise.reject(new GradCacheError('INPUT', `${this.path} has no beginning to go back to.`));
  }

  finish(): Promise<void> {
    return onFiles('INPUT', this.path, 'written', () => this.file.close());
  }

  async abandon(): Promise<void> {
    await this.file.close().catch(() => undefined);
  }
}

/** Standard output or error, to which other parts of the process write as well; it stays open. */
class StreamOutput implements OutputFile {
  readonly canGoBack = false;

  constructor(
    readonly path: string,
    readonly stream: NodeJS.WriteStream,
  ) {}

  write(bytes: Buffer): Promise<void> {
    return new Promise((done, fail) => {
      this.stream.write(bytes, (error) =>
        error ? fail(fileError('INPUT', this.path, 'written', error)) : done(),
      );
    });
  }

  writeBeginning(): Promise<void> {
    return Promise.reject(new GradCacheError('INPUT', 'A stream has no beginning to go back to.'));
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  abandon(): Promise<void> {
    return Promise.resolve();
  }
}
