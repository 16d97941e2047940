import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { fileError, onFiles } from '../files/file-error.js';
import { LockFile } from '../files/lock-file.js';
import { makeFolders } from '../files/make-folders.js';
import { pause, throwIfAborted } from '../options/abort.js';
import { plural } from '../options/plural.js';
import { download } from './download.js';
import { RepositoryCache } from './hub-cache.js';
import { commitOf, listFiles, type ListedFile, type Listing } from './hub-listing.js';
import { writtenName, type HubRepository } from './hub-name.js';
import type { Hub } from './hub-request.js';
import type { ReadListed } from './model-files.js';

/** How far a download is. */
export interface HubProgress {
  /** `owner/name` */
  readonly repository: string;
  /** Bytes that are there. */
  readonly bytes: number;
  /** Bytes of all files that are wanted. */
  readonly totalBytes: number;
  /** Files that are there. */
  readonly files: number;
  /** Files that are wanted. */
  readonly totalFiles: number;
}

/** Files of a repository that are in the cache. */
export interface Snapshot {
  /** The folder that holds them. */
  readonly folder: string;
  readonly commit: string;
  /** Their paths in the folder. */
  readonly files: readonly string[];
  /** Bytes that were fetched for it. */
  readonly fetched: number;
}

/** Which files of a repository are wanted. */
export interface Wanted {
  readonly repository: HubRepository;
  /** Chooses from the list of files. @throws GradCacheError `INPUT` where there is nothing to choose */
  readonly choose: (listing: Listing, read: ReadListed) => Promise<readonly string[]>;
  /** Ask the hub what the revision names now, also if it has been asked before. */
  readonly renew?: boolean;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
}

/** How many files come at once. */
const AT_ONCE = 4;
/** How often somebody looks whether another download has ended, in milliseconds. */
const LOOK = 200;

/**
 * Files of a repository, from the cache, or from the hub by way of the cache. Without `renew` no request is made if a revision
 * was looked up before and its files are there. Of several processes that want the same, one downloads.
 *
 * @throws GradCacheError `HUB` where the hub cannot be reached or refuses, `INPUT` where the cache cannot be written,
 * `ABORTED`
 */
export async function takeSnapshot(hub: Hub, wanted: Wanted): Promise<Snapshot> {
  const { repository, renew = false } = wanted;
  const cache = new RepositoryCache(hub.settings.cache, repository);
  if (hub.settings.offline) {
    const found = (await findWhole(cache, wanted)) ?? (await findPythons(cache, wanted));
    if (found !== null) return found;
    throw new GradCacheError(
      'HUB',
      `${writtenName(repository)} is not in the cache, ${hub.settings.cache}, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE ` +
        `forbids to ask for it. ${await alreadyThere(cache, wanted, null)} Unset the variable, or copy the cache of a machine that has it.`,
    );
  }
  const found = renew ? null : await findWhole(cache, wanted);
  if (found !== null) return found;
  return whileAlone(hub, cache, async () => {
    // Another process may just have brought it.
    const brought = renew ? null : await findWhole(cache, wanted);
    if (brought !== null) return brought;
    let commit: string | null = null;
    try {
      return await bring(hub, cache, wanted, (found) => (commit = found));
    } catch (error) {
      if (!(error instanceof GradCacheError) || error.code !== 'HUB') throw error;
      const there = await alreadyThere(cache, wanted, commit);
      throw new GradCacheError('HUB', `${error.message} ${there}`, { cause: error });
    }
  });
}

/** The snapshot of a revision that was looked up before, if all that is wanted of it is there. */
async function findWhole(cache: RepositoryCache, { repository, choose }: Wanted): Promise<Snapshot | null> {
  const commit = await cache.commitOf(repository.revision);
  const listing = commit === null ? null : await cache.listing(commit);
  if (commit === null || listing === null) return null;
  const folder = cache.snapshot(commit);
  const isThere = async (path: string): Promise<boolean> => {
    const file = listing.get(path);
    return file !== undefined && (await cache.has(commit, file));
  };
  let files: readonly string[];
  try {
    files = await choose(listing, async (path) => {
      if (await isThere(path)) return readFile(join(folder, path), 'utf8');
      throw new Missing();
    });
  } catch (error) {
    if (error instanceof Missing) return null;
    throw error;
  }
  for (const path of files) if (!(await isThere(path))) return null;
  return { folder, commit, files, fetched: 0 };
}

/** A file that would have to be fetched. */
class Missing extends Error {}

/**
 * A snapshot of a model that Python has made without a list of the files. It is whole if it is certain whether the model has
 * modules: without them, another pooling would be taken.
 */
async function findPythons(cache: RepositoryCache, { repository }: Wanted): Promise<Snapshot | null> {
  const commit = await cache.commitOf(repository.revision);
  if (commit === null || repository.kind !== 'model') return null;
  const folder = cache.snapshot(commit);
  const has = async (path: string): Promise<boolean> =>
    readFile(join(folder, path)).then(
      () => true,
      () => false,
    );
  const certain = (await has('modules.json')) || (await cache.isAbsent(commit, 'modules.json'));
  return certain && (await has('config.json')) ? { folder, commit, files: [], fetched: 0 } : null;
}

async function bring(
  hub: Hub,
  cache: RepositoryCache,
  { repository, choose, onProgress }: Wanted,
  onCommit: (commit: string) => void,
): Promise<Snapshot> {
  const commit = await commitOf(hub, repository);
  onCommit(commit);
  const known = await cache.listing(commit);
  const listing = known ?? (await listFiles(hub, repository, commit));
  if (known === null) await cache.setListing(commit, listing);
  const folder = cache.snapshot(commit);
  await onFiles('INPUT', folder, 'made a folder', () => makeFolders(folder));
  let fetched = 0;
  // Several files can have the same bytes.
  const coming = new Map<string, Promise<void>>();
  const bytesOf = async (file: ListedFile, onBytes: (bytes: number) => void): Promise<void> => {
    if (await cache.hasBlob(file)) return;
    await download(hub, { repository, commit, file, cache, onBytes });
    fetched += file.size;
  };
  const fetchFile = async (path: string, onBytes: (bytes: number) => void): Promise<void> => {
    const file = listing.get(path)!;
    if (await cache.has(commit, file)) return;
    const bytes = coming.get(file.digest) ?? bytesOf(file, onBytes);
    coming.set(file.digest, bytes);
    await bytes;
    await cache.link(commit, file);
  };
  const files = await choose(listing, async (path) => {
    await fetchFile(path, () => undefined);
    return readFile(join(folder, path), 'utf8').catch((error: unknown) => {
      throw fileError('INPUT', join(folder, path), 'read', error);
    });
  });
  const progress = new Progress(
    repository.name,
    files.map((path) => listing.get(path)!),
    onProgress,
  );
  await inParallel(files, AT_ONCE, async (path) => {
    await fetchFile(path, (bytes) => progress.at(path, bytes));
    progress.done(path);
  });
  // Last: what a revision names is whole, here and for Python.
  await cache.setCommit(repository.revision, commit);
  return { folder, commit, files, fetched };
}

/** Adds up what comes of several files at once. */
class Progress {
  readonly #bytes = new Map<string, number>();
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #total: number;
  #files = 0;

  constructor(
    readonly repository: string,
    files: readonly ListedFile[],
    readonly tell: ((progress: HubProgress) => void) | undefined,
  ) {
    this.#sizes = new Map(files.map(({ path, size }) => [path, size]));
    this.#total = files.reduce((sum, { size }) => sum + size, 0);
  }

  at(path: string, bytes: number): void {
    this.#bytes.set(path, bytes);
    this.tell?.({
      repository: this.repository,
      bytes: [...this.#bytes.values()].reduce((sum, each) => sum + each, 0),
      totalBytes: this.#total,
      files: this.#files,
      totalFiles: this.#sizes.size,
    });
  }

  done(path: string): void {
    this.#files++;
    this.at(path, this.#sizes.get(path) ?? 0);
  }
}

/** Does something for each item, several at a time. The first error ends it, when those under way have ended. */
async function inParallel<T>(
  items: readonly T[],
  most: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const left = [...items];
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    while (left.length > 0 && failures.length === 0) {
      await work(left.shift()!).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: most }, worker));
  if (failures.length > 0) throw failures[0];
}

/** Runs something while no other process or thread does the same. */
async function whileAlone<T>(hub: Hub, { lock: path }: RepositoryCache, work: () => Promise<T>): Promise<T> {
  await onFiles('INPUT', path, 'written', () => makeFolders(dirname(path)));
  let told = false;
  for (;;) {
    throwIfAborted(hub.signal);
    const found = await LockFile.attempt(path);
    if (found === null) continue;
    if (!('holder' in found)) {
      try {
        return await work();
      } finally {
        await found.release();
      }
    }
    if (!told) hub.onWait?.(`waiting for ${whoIs(found.holder?.pid)}, which downloads it`);
    told = true;
    await pause(LOOK, hub.signal);
  }
}

function whoIs(pid: number | undefined): string {
  if (pid === undefined) return 'another process';
  return pid === process.pid ? 'another call' : `process ${pid}`;
}

/**
 * A sentence that says what is in the cache.
 *
 * @param wantedCommit what the revision names now; null where that is not known
 */
async function alreadyThere(
  cache: RepositoryCache,
  { repository, choose }: Wanted,
  wantedCommit: string | null,
): Promise<string> {
  const before = await cache.commitOf(repository.revision);
  const commit = wantedCommit ?? before;
  const listing = commit === null ? null : await cache.listing(commit);
  if (commit === null || listing === null) return copyThere(cache, before);
  const folder = cache.snapshot(commit);
  const open: ReadListed = (path) => readFile(join(folder, path), 'utf8');
  const chosen = await choose(listing, open).catch(() => null);
  if (chosen === null) return copyThere(cache, before);
  const files = chosen.map((path) => listing.get(path)!);
  const whole = await Promise.all(files.map((file) => cache.has(commit, file)));
  const count = whole.filter(Boolean).length;
  if (count === files.length) return copyThere(cache, commit);
  const parts = await Promise.all(files.map((file) => cache.partialBytes(file)));
  const bytes = parts.reduce((sum, each) => sum + each, 0);
  if (count === 0 && bytes === 0) return copyThere(cache, before);
  return (
    `${count} of ${plural(files.length, 'file')} and ${plural(bytes, 'byte')} of others are in ${cache.folder}: the next try ` +
    'goes on from there.'
  );
}

function copyThere(cache: RepositoryCache, commit: string | null): string {
  return commit === null
    ? 'Nothing of it is in the cache.'
    : `What the cache has of its commit ${commit} is in ${cache.snapshot(commit)}.`;
}
