import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { GradCacheError } from '../errors.js';
import { flush, flushFolder, writeAll } from '../files/file-handle.js';
import { onFiles } from '../files/file-error.js';
import { makeFolders } from '../files/make-folders.js';
import { plural } from '../options/plural.js';
import type { RepositoryCache } from './hub-cache.js';
import type { ListedFile } from './hub-listing.js';
import type { HubRepository } from './hub-name.js';
import { Passing, persistently, tryRequest, type Hub } from './hub-request.js';

/** Where a file is to be had, and where it goes. */
export interface Download {
  readonly repository: Pick<HubRepository, 'kind' | 'name'>;
  readonly commit: string;
  readonly file: ListedFile;
  readonly cache: RepositoryCache;
  /** Told how many bytes of the file are there, each time that more are. */
  readonly onBytes: (bytes: number) => void;
}

/**
 * Brings the bytes of a file into the cache. What an earlier try has brought is kept, and the rest asked for. The file gets its
 * name only when its digest is the one that the hub states.
 *
 * @throws GradCacheError `HUB`, `ABORTED`; `INPUT` where the file cannot be written
 */
export async function download(hub: Hub, what: Download): Promise<void> {
  const { cache, file } = what;
  const partial = cache.partial(file);
  let wrong = 0;
  await onFiles('INPUT', partial, 'written', async () => {
    await makeFolders(dirname(partial));
    await persistently(hub, async (gained) => {
      const url = urlOf(hub, what);
      const output = await open(partial, 'a');
      try {
        const digest = await fill(hub, what, { url, output, gained });
        await flush(output);
        if (digest === file.digest) return;
      } finally {
        await output.close();
      }
      await rm(partial, { force: true });
      // A second time it is no accident, and a model is large.
      throw ++wrong > 1
        ? wrongBytes(what, url, wrong)
        : new Passing('', (tries) => wrongBytes(what, url, tries), 0);
    });
    await rename(partial, cache.blob(file));
    await flushFolder(dirname(partial));
  });
}

function urlOf({ settings }: Hub, { repository: { kind, name }, commit, file }: Download): string {
  const path = file.path.split('/').map(encodeURIComponent).join('/');
  return `${settings.endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${name}/resolve/${commit}/${path}`;
}

/** One try to fetch what is missing. Gives the digest of the whole file. @throws Passing where the connection ends early */
async function fill(
  hub: Hub,
  what: Download,
  { url, output, gained }: { readonly url: string; readonly output: FileHandle; readonly gained: () => void },
): Promise<string> {
  const { file, onBytes } = what;
  let hash = newHash(file);
  let done = await digestOfBegun(what.cache.partial(file), file, hash);
  if (done === 0) await output.truncate(0);
  onBytes(done);
  if (done === file.size) return hash.digest('hex');
  const from = done;
  // Without the second header an answer can be packed, whose bytes are counted otherwise.
  const headers = { ...(from > 0 && { range: `bytes=${from}-` }), 'accept-encoding': 'identity' };
  const asked = nameOf(what);
  const { response, alive, close, reasonOf } = await tryRequest(hub, asked, url, { headers, good: [416] });
  let reason = 'the connection ended';
  try {
    if (from > 0 && !continues(response, from)) {
      await output.truncate(0);
      [done, hash] = [0, newHash(file)];
    }
    const parts = response.status === 416 ? null : piecesOf(response);
    while (parts !== null && done < file.size) {
      // An error of the disk is none of the connection's.
      const next = await parts.read().catch((error: unknown) => {
        reason = reasonOf(error);
        return { done: true, value: undefined };
      });
      if (next.done || next.value === undefined) break;
      alive();
      const bytes = next.value.subarray(0, file.size - done);
      await writeAll(output, bytes);
      hash.update(bytes);
      done += bytes.length;
      onBytes(done);
    }
    await parts?.cancel().catch(() => undefined);
  } finally {
    close();
  }
  if (done === file.size) return hash.digest('hex');
  if (done > from) gained();
  throw new Passing(
    `${asked}: ${reason}`,
    (tries) =>
      new GradCacheError(
        'HUB',
        `${asked} was asked of ${url}, ${plural(tries, 'time')}: ${reason}, with ${done} of ${file.size} bytes. Try again: ` +
          'what came is kept.',
      ),
  );
}

function piecesOf(response: Response): ReadableStreamDefaultReader<Uint8Array> | null {
  return (response.body as ReadableStream<Uint8Array> | null)?.getReader() ?? null;
}

/** Digests what an earlier try has left, and gives its length; 0 for more than the file has. */
async function digestOfBegun(partial: string, file: ListedFile, hash: Hash): Promise<number> {
  const { size } = await stat(partial);
  if (size > file.size) return 0;
  for await (const part of createReadStream(partial, { highWaterMark: 1 << 20 })) hash.update(part as Buffer);
  return size;
}

/** Git's own digest begins with the length. */
function newHash({ digest, size }: ListedFile): Hash {
  return digest.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
}

/** Whether an answer goes on where the bytes that are there end. */
function continues({ status, headers }: Response, from: number): boolean {
  return status === 206 && headers.get('content-range')?.startsWith(`bytes ${from}-`) === true;
}

function nameOf({ file, repository }: Download): string {
  return `${file.path} of ${repository.name}`;
}

function wrongBytes(what: Download, url: string, tries: number): GradCacheError {
  const { size, digest } = what.file;
  const kind = digest.length === 64 ? 'SHA-256' : "git's SHA-1";
  return new GradCacheError(
    'HUB',
    `${nameOf(what)} was asked of ${url}, ${plural(tries, 'time')}, and what came is not the file that the hub lists: ` +
      `${size} bytes whose ${kind} is ${digest}. It was not kept. Try later, or over another connection: something between ` +
      'changes it.',
  );
}
