import type * as Uploader from '@huggingface/hub';
import { GradCacheError } from '../errors.js';
import { isJsonObject } from '../files/strict-json.js';
import { reasonOf } from '../options/realms.js';
import { refusedBy, unreachable } from './hub-refusal.js';
import {
  causeOf,
  Passing,
  passingStatus,
  persistently,
  requestJson,
  retryAfter,
  type Hub,
} from './hub-request.js';
import type { HubSettings } from './hub-settings.js';

/** A file to upload. */
export interface UploadedFile {
  /** Its path in the repository. */
  readonly path: string;
  /** A file here, or bytes. */
  readonly content: URL | Blob;
}

/** What is uploaded, and where to. */
export interface Upload {
  /** `owner/name` */
  readonly name: string;
  readonly files: readonly UploadedFile[];
  /** Makes a new repository private. An existing one must be private then. */
  readonly isPrivate: boolean;
  /** The title of the commit. */
  readonly message: string;
  /** Told how many files have come, in all. */
  readonly onProgress?: ((files: number) => void) | undefined;
}

/** What an upload has made. */
export interface Uploaded {
  /** The page of the model. */
  readonly url: string;
  readonly commit: string;
  /** Whether the repository is new. */
  readonly created: boolean;
}

/** The package that speaks the hub's protocols of upload. It is not a dependency: few programs upload. */
const PACKAGE = '@huggingface/hub';

/**
 * Uploads files to a model's repository, as one commit. The repository is made where there is none.
 *
 * @throws GradCacheError `HUB`; `SETUP` where @huggingface/hub is not installed; `INPUT` for a public repository where a
 * private one is asked for; `ABORTED`
 */
export async function upload(
  hub: Hub,
  { name, files, isPrivate, message, onProgress }: Upload,
): Promise<Uploaded> {
  if (hub.settings.offline)
    throw new GradCacheError(
      'HUB',
      `${name} is to be uploaded, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids it. Unset the variable.`,
    );
  const { createRepo, uploadFilesWithProgress } = await uploader();
  const accessToken = requireToken(hub.settings, name);
  const common = {
    repo: { type: 'model', name },
    accessToken,
    hubUrl: hub.settings.endpoint,
    fetch: persistentFetch(hub, name),
  } as const;
  try {
    const existing = await visibilityOf(hub, name);
    if (existing === 'public' && isPrivate)
      throw new GradCacheError(
        'INPUT',
        `${name} is to be private, and the hub has a public model of that name. Make it private on its page, or give another name.`,
      );
    if (existing === null) await createRepo({ ...common, ...(isPrivate && { visibility: 'private' }) });
    const commits = uploadFilesWithProgress({
      ...common,
      files: files.map(({ path, content }) => ({ path, content })),
      commitTitle: message,
      ...(hub.signal && { abortSignal: hub.signal }),
    });
    const done = new Set<string>();
    for (;;) {
      const { value, done: isEnd } = await commits.next();
      if (isEnd) {
        const commit = value?.commit.oid ?? '';
        return { url: `${hub.settings.endpoint}/${name}`, commit, created: existing === null };
      }
      const path = finished(value);
      if (path === null || done.has(path)) continue;
      done.add(path);
      onProgress?.(done.size);
    }
  } catch (error) {
    if (hub.signal?.aborted === true)
      throw new GradCacheError('ABORTED', 'stopped by the AbortSignal', { cause: error });
    if (error instanceof GradCacheError) throw error;
    throw new GradCacheError(
      'HUB',
      `The upload of ${name} to ${hub.settings.endpoint} failed: ${reasonOf(error)}. Try again: files that have come are not sent anew.`,
      { cause: error },
    );
  }
}

async function uploader(): Promise<typeof Uploader> {
  try {
    return await import('@huggingface/hub');
  } catch (error) {
    throw new GradCacheError(
      'SETUP',
      `Uploads need the package ${PACKAGE}, which cannot be loaded: ${reasonOf(error).split('\n')[0]}. ` +
        `Install it beside gradcache: npm install ${PACKAGE}`,
      { cause: error },
    );
  }
}

/** @throws GradCacheError `HUB` */
function requireToken({ token, tokenFile }: HubSettings, name: string): string {
  const way = `Make one that may write (https://huggingface.co/settings/tokens), and set HF_TOKEN or put it into ${tokenFile}.`;
  if (token === null)
    throw new GradCacheError('HUB', `An upload to ${name} needs a token, and there is none. ${way}`);
  if (!token.value.startsWith('hf_'))
    throw new GradCacheError(
      'HUB',
      `The token of ${token.source} is none of the hub: those begin with hf_. ${way}`,
    );
  return token.value;
}

/** Whether everybody sees a model; null where there is none that the token may see. */
async function visibilityOf(hub: Hub, name: string): Promise<'public' | 'private' | null> {
  const url = `${hub.settings.endpoint}/api/models/${name}`;
  const { value } = await requestJson(hub, `The model ${name}`, url, [401, 404]);
  if (value === null) return null;
  return isJsonObject(value) && value['private'] === true ? 'private' : 'public';
}

/** The path of a file that has come, or null. */
function finished(event: Uploader.CommitProgressEvent): string | null {
  return event.event === 'fileProgress' && event.state === 'uploading' && event.progress === 1
    ? event.path
    : null;
}

/** fetch that tries again what passes, and tells refusals of the hub. Of another host's, the package makes what it will. */
function persistentFetch(hub: Hub, name: string): typeof fetch {
  const { settings } = hub;
  const what = `The upload of ${name}`;
  return (input, init) =>
    persistently(hub, async () => {
      const url = typeof input === 'string' ? input : 'url' in input ? input.url : input.href;
      let response: Response;
      try {
        response = await fetch(input, init);
      } catch (error) {
        const reason = causeOf(error);
        throw new Passing(`${what}: ${reason}`, (tries) =>
          unreachable(settings, { what, url, tries, reason }),
        );
      }
      const { status, statusText, headers } = response;
      if (response.ok) return response;
      const passes = passingStatus(status);
      if (!passes && (!url.startsWith(`${settings.endpoint}/`) || status === 409)) return response;
      const text = await response.text().catch(() => '');
      const final = (tries: number): GradCacheError =>
        refusedBy(settings, { what, url, tries, response, text });
      if (!passes) throw final(1);
      throw new Passing(`${what}: ${status} ${statusText}`, final, retryAfter(headers.get('retry-after')));
    });
}
