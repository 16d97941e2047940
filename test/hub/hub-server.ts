import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { readdir, readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

export type Files = ReadonlyMap<string, Buffer>;

/** One request that came. */
export interface Came {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  readonly encoding: string | string[] | undefined;
}

/** Answers a request in place of the server; false: the server answers it. */
export type Fault = (request: Came, response: ServerResponse) => boolean;

interface Repository {
  readonly commits: Map<string, Files>;
  readonly refs: Map<string, string>;
  token?: string;
}

/** Files that a hub keeps in large file storage. */
const LARGE = /\.(safetensors|parquet|bin|onnx)$/;

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const gitDigest = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

/** A server on loopback that speaks the API of the Hugging Face hub, as far as downloads and commits go. */
export class HubServer {
  readonly requests: Came[] = [];
  /** By `models/owner/name` or `datasets/owner/name`. */
  readonly repositories = new Map<string, Repository>();
  readonly #set = new Set<string>();
  readonly #uploaded = new Map<string, Buffer>();
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  fault: Fault = () => false;
  /** Entries on a page of a list of files. */
  pageSize = 1000;

  static async start(t: TestContext): Promise<HubServer> {
    const hub = new HubServer();
    await new Promise<void>((resolve) => hub.#server.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      hub.#server.closeAllConnections();
      hub.#server.close();
    });
    return hub;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The environment of a program that uses this hub, with a cache of its own. */
  environment(home: string): Record<string, string> {
    return { HF_ENDPOINT: this.endpoint, HF_HOME: home, HF_TOKEN: '', HF_HUB_OFFLINE: '' };
  }

  /** Sets the environment of this process for a test. */
  use(t: TestContext, environment: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(environment)) {
      const before = process.env[name];
      process.env[name] = value;
      if (this.#set.has(name)) continue; // what was before the test comes back
      this.#set.add(name);
      t.after(() => (before === undefined ? delete process.env[name] : (process.env[name] = before)));
    }
  }

  /** Commits files to a branch, and gives the commit. */
  commit(repository: string, files: Files | Readonly<Record<string, string | Buffer>>, ref = 'main'): string {
    const all: Files =
      'size' in files && files instanceof Map
        ? files
        : new Map(Object.entries(files).map(([path, content]) => [path, Buffer.from(content as string)]));
    const found = this.repositories.get(repository) ?? { commits: new Map<string, Files>(), refs: new Map() };
    this.repositories.set(repository, found);
    const names = [...all].map(([path, bytes]) => `${path} ${sha256(bytes)}`).join('\n');
    const commit = createHash('sha1').update(names).digest('hex');
    found.commits.set(commit, all);
    found.refs.set(ref, commit);
    return commit;
  }

  /** What was asked for since the last call. */
  take(): Came[] {
    return this.requests.splice(0);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request;
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const { range, authorization } = headers;
    const encoding = headers['accept-encoding'];
    const came: Came = { method, path: decodeURIComponent(url), range, authorization, encoding };
    this.requests.push(came);
    if (this.fault(came, response)) return;
    if (method !== 'GET' && method !== 'HEAD') return this.#upload(came, body, response);
    const [, api, kind = 'models', name = '', what, ref = '', path = ''] =
      /^(\/api\/(?=models|datasets))?(?:\/?(models|datasets)\/)?([^/]+\/[^/]+)(?:\/(revision|tree|resolve)\/(refs\/[^/]+\/[^/]+|[^/?]+)(?:\/([^?]*))?)?/.exec(
        came.path.replace(/^\/(?!api)/, ''),
      ) ?? [];
    const repository = this.repositories.get(`${kind}/${name}`);
    const allowed = repository?.token === undefined || authorization === `Bearer ${repository.token}`;
    if (repository === undefined || !allowed)
      return refuse(
        response,
        authorization === undefined ? 401 : 404,
        'RepoNotFound',
        'Invalid username or password.',
      );
    const commit = repository.refs.get(ref || 'main') ?? (repository.commits.has(ref) ? ref : undefined);
    if (commit === undefined) return refuse(response, 404, 'RevisionNotFound', `Invalid rev id: ${ref}`);
    const files = repository.commits.get(commit)!;
    if (api !== undefined && what !== 'tree') return json(response, { id: name, sha: commit });
    if (what === 'tree') return this.#list(came, files, response);
    response.setHeader('x-repo-commit', commit);
    return send(path, files.get(path), range, response);
  }

  #list(came: Came, files: Files, response: ServerResponse): void {
    const url = new URL(came.path, this.endpoint);
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const folders = new Set([...files.keys()].flatMap((path) => /^(.+)\//.exec(path)?.[1] ?? []));
    const listed = [...files].map(([path, bytes]) => ({
      type: 'file',
      path,
      size: bytes.length,
      oid: gitDigest(bytes),
      ...(LARGE.test(path) && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } }),
    }));
    const entries = [
      ...[...folders].map((path) => ({ type: 'directory', path, size: 0, oid: '' })),
      ...listed,
    ];
    const to = from + this.pageSize;
    if (to < entries.length) {
      url.searchParams.set('cursor', String(to));
      response.setHeader('link', `<${url.href}>; rel="next"`);
    }
    json(response, entries.slice(from, to));
  }

  /** The protocol of commits: which files are large, where those go, and the commit itself. */
  #upload({ method, path, authorization }: Came, body: Buffer, response: ServerResponse): void {
    if (method === 'PUT') {
      this.#uploaded.set(path.split('/').at(-1)!, body);
      response.end();
      return;
    }
    if (authorization === undefined) return refuse(response, 401, '', 'Invalid username or password.');
    const text = body.toString();
    const value = (line = text): never => JSON.parse(line) as never;
    if (path === '/api/repos/create') {
      const { organization, name }: { organization: string; name: string } = value();
      const key = `models/${organization}/${name}`;
      if (this.repositories.has(key)) return refuse(response, 409, '', 'You already created this model repo');
      this.commit(key, { '.gitattributes': '' });
      return json(response, {
        url: `${this.endpoint}/${organization}/${name}`,
        id: `${organization}/${name}`,
      });
    }
    if (path.includes('/preupload/')) {
      const { files }: { files: { path: string }[] } = value();
      return json(response, {
        files: files.map((file) => ({
          path: file.path,
          uploadMode: LARGE.test(file.path) ? 'lfs' : 'regular',
        })),
      });
    }
    if (path.endsWith('/info/lfs/objects/batch')) {
      const { objects }: { objects: { oid: string; size: number }[] } = value();
      return json(response, {
        transfer: 'basic',
        objects: objects.map((object) => ({
          ...object,
          ...(!this.#uploaded.has(object.oid) && {
            actions: { upload: { href: `${this.endpoint}/upload/${object.oid}` } },
          }),
        })),
      });
    }
    const [, name = '', ref = ''] = /^\/api\/models\/([^/]+\/[^/]+)\/commit\/(.+)$/.exec(path) ?? [];
    const repository = this.repositories.get(`models/${name}`);
    if (repository === undefined) return refuse(response, 404, 'RepoNotFound', 'Repository not found');
    const files = new Map(repository.commits.get(repository.refs.get(ref)!));
    for (const line of text.split('\n')) {
      const { key, value: entry }: { key: string; value: { path: string; content: string; oid: string } } =
        value(line);
      if (key === 'file') files.set(entry.path, Buffer.from(entry.content, 'base64'));
      if (key === 'lfsFile') files.set(entry.path, this.#uploaded.get(entry.oid)!);
    }
    const commit = this.commit(`models/${name}`, files, ref);
    json(response, {
      commitOid: commit,
      commitUrl: `${this.endpoint}/${name}/commit/${commit}`,
      hookOutput: '',
    });
  }
}

function send(
  path: string,
  bytes: Buffer | undefined,
  range: string | undefined,
  response: ServerResponse,
): void {
  if (bytes === undefined) return refuse(response, 404, 'EntryNotFound', 'Entry not found');
  if (LARGE.test(path)) {
    response.setHeader('x-linked-etag', `"${sha256(bytes)}"`);
    response.setHeader('x-linked-size', bytes.length);
  } else response.setHeader('etag', `"${gitDigest(bytes)}"`);
  const [, from] = /^bytes=(\d+)-$/.exec(range ?? '') ?? [];
  if (from === undefined) {
    response.setHeader('content-length', bytes.length);
    response.end(bytes);
    return;
  }
  response.statusCode = Number(from) < bytes.length ? 206 : 416;
  response.setHeader('content-range', `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
  response.end(response.statusCode === 206 ? bytes.subarray(Number(from)) : undefined);
}

export function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  response.statusCode = status;
  if (code !== '') response.setHeader('x-error-code', code);
  response.setHeader('x-error-message', message);
  json(response, { error: message });
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader('content-type', 'application/json; charset=utf-8');
  response.end(JSON.stringify(value));
}

/** Sends the first bytes of a file, as if all were to come, and ends the connection. */
export function cutAfter(response: ServerResponse, bytes: Buffer, count: number, from = 0): void {
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': bytes.length - from,
    ...(from > 0 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
  });
  response.write(bytes.subarray(from, from + count), () => setTimeout(() => response.destroy(), 20));
}

/** The files of a folder, by their paths in it. */
export async function filesOf(folder: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(folder.length + 1), await readFile(path));
  }
  return files;
}
