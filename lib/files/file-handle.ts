/*
 * What the package does with open files. Not every FileHandle is Node's own: that of Yarn's Plug'n'Play has no sync(),
 * and until Yarn 4.10 reads into nothing but a Buffer. And not every file system can flush.
 */
import { fsync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { onCode } from './file-error.js';

/** One read or write at most: the operating system takes less than 2 GiB at a time. */
const MAX_TRANSFER = 1 << 30;

/** Reads from a place in the file until the array is full or the file ends; gives the number of bytes read. */
export async function readInto(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let done = 0;
  while (done < buffer.length) {
    const length = Math.min(buffer.length - done, MAX_TRANSFER);
    const { bytesRead } = await file.read(buffer, done, length, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Writes all of the bytes, at a place in the file or else where it stands. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const length = Math.min(bytes.byteLength - done, MAX_TRANSFER);
    const place = position === undefined ? null : position + done;
    const { bytesWritten } = await file.write(bytes, done, length, place);
    done += bytesWritten;
  }
}

/** The codes of fsync for what it cannot flush: devices, pipes, and files of file systems without it. */
const CANNOT_FLUSH = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];
/** Some file systems open no folder, or flush only what was opened for writing, which a folder cannot be. */
const CANNOT_FLUSH_FOLDER = [...CANNOT_FLUSH, 'EISDIR', 'EBADF', 'EACCES', 'EPERM', 'ERR_ACCESS_DENIED'];

/** Flushes what was written to the disk, where the file system can. */
export async function flush(file: FileHandle): Promise<void> {
  await promisify(fsync)(file.fd).catch(onCode(CANNOT_FLUSH, undefined));
}

/** Flushes the entries of a folder, where the file system can, so that a rename in it outlives a power cut. */
export async function flushFolder(path: string): Promise<void> {
  const refused = onCode(CANNOT_FLUSH_FOLDER, undefined);
  const folder = await open(path, 'r').catch(refused);
  if (folder === undefined) return;
  await promisify(fsync)(folder.fd)
    .catch(refused)
    .finally(() => folder.close());
}

/** The code of rename for a file to replace that is a mount point, such as Docker's -v makes. */
const CANNOT_REPLACE = ['EBUSY', 'EXDEV'];

/**
 * Puts a complete file in the place of another. Where that one can be written but not replaced, the content is copied
 * into it, and the file that held it is then removed.
 */
export async function moveOver(complete: string, target: string): Promise<void> {
  const moved = await rename(complete, target).then(() => true, onCode(CANNOT_REPLACE, false));
  if (moved) return;
  await copyInto(complete, target);
  await rm(complete, { force: true });
}

/** Not copyFile, which removes the file that it could not fill, and sets permissions that only an owner may set. */
async function copyInto(from: string, to: string): Promise<void> {
  const source = await open(from, 'r');
  try {
    const target = await open(to, 'w');
    try {
      const part = Buffer.alloc(1 << 20);
      for (let done = 0, read: number; (read = await readInto(source, part, done)) > 0; done += read)
        await writeAll(target, part.subarray(0, read));
      await flush(target);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}
