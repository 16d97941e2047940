import type { GradCacheError } from '../errors.js';
import { isJsonObject } from '../files/strict-json.js';
import { show } from '../options/option-values.js';
import { isCommit, type HubRepository } from './hub-name.js';
import { requestJson, unexpected, type Hub } from './hub-request.js';

/** A file of a repository: how long it is, and what its bytes must digest to. */
export interface ListedFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a file in large file storage, else SHA-1 of git's blob. It names the file in the cache. */
  readonly digest: string;
}

/** The files of a repository at a commit, by their paths. */
export type Listing = ReadonlyMap<string, ListedFile>;

/** The commit that a revision names now. @throws GradCacheError `HUB`, `ABORTED` */
export async function commitOf(hub: Hub, repository: HubRepository): Promise<string> {
  const { kind, name, revision } = repository;
  if (isCommit(revision)) return revision;
  const what = `The revision ${revision} of ${name}`;
  const url = `${hub.settings.endpoint}/api/${kind}s/${name}/revision/${encodeURIComponent(revision)}`;
  const { value } = await requestJson(hub, what, url);
  const commit = isJsonObject(value) ? value['sha'] : undefined;
  if (typeof commit === 'string' && isCommit(commit)) return commit;
  throw unexpected(what, url, `sha is ${show(commit)}`);
}

/** Lists the files of a commit. @throws GradCacheError `HUB`, `ABORTED` */
export async function listFiles(
  hub: Hub,
  { kind, name }: Pick<HubRepository, 'kind' | 'name'>,
  commit: string,
): Promise<Listing> {
  const what = `The list of files of ${name} at ${commit}`;
  const files = new Map<string, ListedFile>();
  let url: string | null = `${hub.settings.endpoint}/api/${kind}s/${name}/tree/${commit}?recursive=true`;
  while (url !== null) {
    const page: string = url;
    const { value, headers } = await requestJson(hub, what, page);
    if (!Array.isArray(value)) throw unexpected(what, page, 'it is no list');
    const refuse = (problem: string): GradCacheError => unexpected(what, page, problem);
    for (const entry of value) {
      const file = fileOf(entry, refuse);
      if (file !== null) files.set(file.path, file);
    }
    url = nextPage(headers.get('link'), page);
    if (url !== null && new URL(url).origin !== new URL(page).origin)
      throw refuse(`its next page is ${show(url)}, of another host`);
  }
  return files;
}

/** Null for a folder, and for what else is no file. */
function fileOf(entry: unknown, refuse: (problem: string) => GradCacheError): ListedFile | null {
  const { type, path, size, oid, lfs }: Record<string, unknown> = isJsonObject(entry) ? entry : {};
  if (typeof type === 'string' && type !== 'file') return null;
  const large = isJsonObject(lfs) ? lfs : null;
  const digest = large === null ? oid : large['oid'];
  const length = large === null ? size : (large['size'] ?? size);
  if (typeof path !== 'string' || !isInside(path)) throw refuse(`it has a file ${show(path)}`);
  if (!Number.isSafeInteger(length) || (length as number) < 0)
    throw refuse(`its file ${show(path)} has ${show(length)} bytes`);
  if (!isDigest(digest, large !== null))
    throw refuse(`its file ${show(path)} has the digest ${show(digest)}`);
  return { path, size: length as number, digest };
}

/** Whether a path stays in the folder that it is put in. */
export function isInside(path: string): boolean {
  const parts = path.split('/');
  // A null byte ends a path for the system.
  return !/[\\\0]/.test(path) && parts.every((part) => part !== '' && part !== '.' && part !== '..');
}

export function isDigest(value: unknown, large: boolean): value is string {
  return typeof value === 'string' && (large ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(value);
}

/** The address of the next page, as the header `link` has it. */
function nextPage(header: string | null, page: string): string | null {
  const [, next] = /<([^>]+)>\s*;\s*rel="?next"?/.exec(header ?? '') ?? [];
  return next === undefined ? null : new URL(next, page).href;
}
