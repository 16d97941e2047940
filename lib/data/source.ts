import { createReadStream, open as openFile, constants, statSync, type Stats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { addAbortSignal, pipeline, type Readable } from 'node:stream';
import { promisify } from 'node:util';
import { createGunzip } from 'node:zlib';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { readInto } from '../files/file-handle.js';
import { placeholderIn } from '../files/placeholder.js';

/*
 * Where bytes of data come from: a regular file, a named pipe or process substitution, or standard input.
 */

const PIECE_BYTES = 256 * 1024;
export const STANDARD_INPUT = '/dev/stdin';

/**
 * What a path leads to.
 *
 * @throws GradCacheError `INPUT` for what holds no data (a folder, a device, a socket), and what is not there
 */
export async function kindOfSource(path: string): Promise<'file' | 'pipe'> {
  let found: Stats;
  try {
    found = await stat(path);
  } catch (error) {
    throw fileError('INPUT', path, 'read', error);
  }
  if (found.isFile()) return 'file';
  if (found.isFIFO() || path === STANDARD_INPUT) return 'pipe';
  const kind = found.isDirectory() ? 'a folder' : found.isSocket() ? 'a socket' : 'a device';
  throw new GradCacheError('INPUT', `${path} is ${kind}; the path of a file of data is needed.`);
}

/** The first of the files that gives what it holds only once, as a pipe does. */
export function readOnceAmong(files: readonly string[]): string | undefined {
  return files.find((file) => {
    try {
      const found = statSync(file);
      return found.isFIFO() || (file === STANDARD_INPUT && !found.isFile());
    } catch {
      return false; // why a file cannot be read is reported by reading it
    }
  });
}

/**
 * The bytes of a file or pipe, unpacked where its name ends in `.gz`.
 *
 * @param signal ends the stream when it fires, also while it waits for bytes or for a pipe's writer
 * @throws GradCacheError `INPUT` for what is neither, or not there
 */
export async function openSource(path: string, signal: AbortSignal | undefined): Promise<Readable> {
  const bytes =
    (await kindOfSource(path)) === 'file'
      ? createReadStream(path, { highWaterMark: PIECE_BYTES })
      : path === STANDARD_INPUT
        ? process.stdin
        : await openPipe(path);
  if (signal !== undefined) addAbortSignal(signal, bytes);
  if (!path.endsWith('.gz')) return bytes;
  // Errors of either reach the loop through the last stream; leaving the loop closes both.
  return pipeline(bytes, createGunzip({ chunkSize: PIECE_BYTES }), () => undefined);
}

/** A thread that waits for a pipe could not be called back, so nothing here waits for one to be opened or filled. */
async function openPipe(path: string): Promise<Readable> {
  try {
    const descriptor = await promisify(openFile)(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return new Socket({ fd: descriptor, readable: true, writable: false });
  } catch (error) {
    throw fileError('INPUT', path, 'read', error);
  }
}

/**
 * Refuses what stands in the place of a file of data when a download went wrong: the pointer that Git LFS leaves, and a
 * web page.
 *
 * @param holds what the file should hold; lines of text may well begin as a web page does
 * @throws GradCacheError `INPUT`
 */
export async function refuseStandIn(path: string, holds: 'data' | 'lines'): Promise<void> {
  if ((await kindOfSource(path)) !== 'file') return;
  const placeholder = placeholderIn(await readHead(path), holds);
  if (placeholder !== undefined) throw new GradCacheError('INPUT', `${path}: ${placeholder}.`);
}

async function readHead(path: string): Promise<Uint8Array> {
  try {
    const file = await open(path, 'r');
    try {
      const bytes = new Uint8Array(512);
      return bytes.subarray(0, await readInto(file, bytes, 0));
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError('INPUT', path, 'read', error);
  }
}
