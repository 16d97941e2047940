/*
 * The cache of downloads, laid out as Python's huggingface_hub lays it out: `models--owner--name` with `blobs`, which are
 * named by their digests, `snapshots/COMMIT`, a folder of links to blobs, and `refs`, which name a commit.
 */
import { readFile, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { makeFolders } from '../files/make-folders.js';
import { beside } from '../files/names-beside.js';
import { replaceFile } from '../files/replace-file.js';
import { isJsonObject } from '../files/strict-json.js';
import { isDigest, isInside, type ListedFile, type Listing } from './hub-listing.js';
import { isCommit, type HubRepository } from './hub-name.js';

/** The place of one repository in the cache. */
export class RepositoryCache {
  readonly folder: string;
  /** A lock for those who download it. Python has its own in the same folder. */
  readonly lock: string;

  constructor(cache: string, { kind, name }: Pick<HubRepository, 'kind' | 'name'>) {
    const own = [`${kind}s`, ...name.split('/')].join('--');
    this.folder = join(cache, own);
    this.lock = join(cache, '.locks', own, 'gradcache.lock');
  }

  /** The folder of a commit's files. */
  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  /** Where the bytes of a file are. */
  blob({ digest }: Pick<ListedFile, 'digest'>): string {
    return join(this.folder, 'blobs', digest);
  }

  /** Where the bytes of a file are while they come. */
  partial(file: Pick<ListedFile, 'digest'>): string {
    return `${this.blob(file)}.gradcache.incomplete`;
  }

  /** How much of a file has come, of one that is not whole. */
  async partialBytes(file: ListedFile): Promise<number> {
    const found = await stat(this.partial(file)).catch(() => null);
    return found?.size ?? 0;
  }

  /** The commit that a revision named when it was last looked up; null if it never was. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const path = this.#ref(revision);
    const text = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent(null)));
    const commit = text?.trim() ?? '';
    return isCommit(commit) ? commit : null;
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || (await this.commitOf(revision)) === commit) return;
    await this.#write(this.#ref(revision), commit);
  }

  /** The files of a commit, as they were listed once, here or by Python; null if they never were. */
  async listing(commit: string): Promise<Listing | null> {
    for (const path of [this.#listing(commit), join(this.folder, 'trees', `${commit}.json`)]) {
      const text = await readFile(path, 'utf8').catch(() => null);
      const listing = text === null ? null : listingIn(text);
      if (listing !== null) return listing;
    }
    return null;
  }

  async setListing(commit: string, listing: Listing): Promise<void> {
    const files: Record<string, object> = {};
    for (const { path, size, digest } of listing.values())
      files[path] =
        digest.length === 64 ? { size, lfs_sha256: digest, lfs_size: size } : { size, blob_id: digest };
    const text = JSON.stringify({ format_version: 1, files });
    await this.#write(this.#listing(commit), text);
  }

  /** Whether a snapshot has a file, with all its bytes. */
  async has(commit: string, { path, size }: ListedFile): Promise<boolean> {
    const found = await stat(join(this.snapshot(commit), path)).catch(() => null);
    return found?.isFile() === true && found.size === size;
  }

  /** Whether the bytes of a file are there, for whatever commit. */
  async hasBlob(file: ListedFile): Promise<boolean> {
    const found = await stat(this.blob(file)).catch(() => null);
    return found?.isFile() === true && found.size === file.size;
  }

  /** Puts a file whose bytes are there into a snapshot. */
  async link(commit: string, file: ListedFile): Promise<void> {
    const path = join(this.snapshot(commit), file.path);
    const target = relative(dirname(path), this.blob(file));
    if ((await readlink(path).catch(() => null)) === target) return;
    await onFiles('INPUT', path, 'written', async () => {
      await makeFolders(dirname(path));
      const fresh = beside(path, 'tmp');
      await rm(fresh, { force: true });
      await symlink(target, fresh);
      await rename(fresh, path);
    });
  }

  /** Whether Python has looked for a file of a commit, and there was none. */
  async isAbsent(commit: string, path: string): Promise<boolean> {
    const found = await stat(join(this.folder, '.no_exist', commit, path)).catch(() => null);
    return found !== null;
  }

  /** Not where Python keeps its own: it takes a snapshot for broken that lacks a file of that list. */
  #listing(commit: string): string {
    return join(this.folder, '.gradcache', `${commit}.json`);
  }

  #ref(revision: string): string {
    return join(this.folder, 'refs', revision);
  }

  async #write(path: string, text: string): Promise<void> {
    await onFiles('INPUT', path, 'written', () => makeFolders(dirname(path)));
    await replaceFile(path, (file) => file.writeFile(text));
  }
}

/** The repository and the file in it that a path in the cache belongs to; null for a path elsewhere. */
export function placeInCache(
  cache: string,
  path: string,
): (HubRepository & { readonly inside: string }) | null {
  const [own = '', snapshots, commit = '', ...rest] = relative(resolve(cache), resolve(path)).split(sep);
  const [, kind, name] = /^(model|dataset)s--(.+)$/.exec(own) ?? [];
  if (kind === undefined || name === undefined || snapshots !== 'snapshots' || !isCommit(commit)) return null;
  return {
    kind: kind as HubRepository['kind'],
    name: name.replace('--', '/'),
    revision: commit,
    inside: rest.join('/'),
  };
}

/** Null for what is no listing: it is then asked for again. */
function listingIn(text: string): Listing | null {
  try {
    const { format_version: format, files } = JSON.parse(text) as Record<string, unknown>;
    if (format !== 1 || !isJsonObject(files)) return null;
    const listing = new Map<string, ListedFile>();
    for (const [path, entry] of Object.entries(files)) {
      if (!isInside(path) || !isJsonObject(entry)) return null;
      const { lfs_sha256: large, blob_id: small, size, lfs_size: largeSize } = entry;
      const isLarge = typeof large === 'string';
      const digest = isLarge ? large : small;
      const length = isLarge ? (largeSize ?? size) : size;
      if (!isDigest(digest, isLarge) || !Number.isSafeInteger(length)) return null;
      listing.set(path, { path, size: length as number, digest });
    }
    return listing;
  } catch {
    return null;
  }
}
