import { readdir } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { GradCacheError } from '../errors.js';
import { placeOf } from '../files/names-beside.js';
import { isRepositoryName } from '../hub/hub-name.js';
import { hubSettings } from '../hub/hub-settings.js';
import { upload, type UploadedFile } from '../hub/upload.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireFunction,
  requireSignal,
  requireString,
} from '../options/option-values.js';
import { requireSharedBase } from './adapter-folder.js';
import { isModelFolder } from './is-model-folder.js';
import { modelCard, type CardRun } from './model-card.js';
import { requireFolder } from './model-folder.js';
import { tell } from '../options/synchronous.js';

/** What an upload of a model takes. */
export interface PushOptions {
  /** Makes a new repository private. Default: as the owner's settings on the hub have it, public by default. */
  readonly private?: boolean | undefined;
  /** The title of the commit. */
  readonly message?: string | undefined;
  /** The model card (README.md). Default: the folder's own; else one is made of what the folder and its run tell. */
  readonly card?: string | undefined;
  /** Ends the upload; nothing is committed then. */
  readonly signal?: AbortSignal | undefined;
  /** Called for each file that has come, with their number and that of all. */
  readonly onProgress?: ((files: number, totalFiles: number) => void) | undefined;
  /** Called when the upload waits because the hub asks to. */
  readonly onWait?: ((message: string) => void) | undefined;
}

/** What an upload has made. */
export interface Pushed {
  /** The page of the model. */
  readonly url: string;
  /** The commit that holds what was uploaded. */
  readonly commit: string;
  /** Whether the repository is new. */
  readonly created: boolean;
  /** The files of the commit. */
  readonly files: readonly string[];
  /** Where the model card came from: the option `card`, the folder, or it was made. */
  readonly card: 'given' | 'folder' | 'made';
}

/** What belongs to a run and not to its model. */
const OF_THE_RUN = new Set(['trainer.json', 'optimizer.safetensors', 'train.lock', 'metrics.jsonl']);

/** @throws GradCacheError `INPUT` */
export function checkPush(name: string, options: PushOptions): void {
  checkKnown('push', options, ['private', 'message', 'card', 'signal', 'onProgress', 'onWait']);
  const { private: isPrivate, message, card, signal, onProgress, onWait } = options;
  if (isPrivate !== undefined) requireBoolean('private', isPrivate);
  if (message !== undefined) requireString('message', message);
  if (card !== undefined) requireString('card', card);
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  if (onWait !== undefined) requireFunction('onWait', onWait);
  requireString('name', name);
  if (!isRepositoryName(name) || name.includes('@')) throw refused('name', name, 'OWNER/NAME');
}

/**
 * Uploads a model folder to the hub, with a model card.
 *
 * @param run the run that made it, where that is known
 * @throws GradCacheError `HUB`, `SETUP`, `INPUT`, `ABORTED`; `CHECKPOINT` for a folder that holds no model
 */
export async function pushFolder(
  folder: string,
  name: string,
  options: PushOptions,
  run?: CardRun,
): Promise<Pushed> {
  checkPush(name, options);
  await requireFolder(folder);
  if (!(await isModelFolder(folder)) && !(await readdir(folder)).includes('adapter_config.json'))
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} holds no model: a folder with config.json and model.safetensors is needed, such as the model/ of a run.`,
    );
  await requireSharedBase(folder);
  const { message = 'Upload a model with gradcache', signal, onProgress } = options;
  const onWait = options.onWait && ((text: string) => tell('onWait', options.onWait, text));
  const paths = await modelPaths(folder);
  const card = options.card ?? (paths.includes('README.md') ? undefined : await modelCard(folder, name, run));
  const files: UploadedFile[] = paths
    .filter((path) => card === undefined || path !== 'README.md')
    .map((path) => ({ path: path.split(sep).join('/'), content: pathToFileURL(join(folder, path)) }));
  if (card !== undefined) files.push({ path: 'README.md', content: new Blob([card]) });
  const uploaded = await upload(
    { settings: hubSettings(), signal, onWait },
    {
      name,
      files,
      isPrivate: options.private === true,
      message,
      onProgress: onProgress && ((done) => tell('onProgress', onProgress, done, files.length)),
    },
  );
  return {
    ...uploaded,
    files: files.map(({ path }) => path).sort(),
    card: options.card !== undefined ? 'given' : card === undefined ? 'folder' : 'made',
  };
}

/** All files of a folder but hidden ones, those of a run, and what is being written. */
async function modelPaths(folder: string, inside = ''): Promise<string[]> {
  const paths: string[] = [];
  for (const entry of await readdir(join(folder, inside), { withFileTypes: true })) {
    const path = join(inside, entry.name);
    if (entry.name.startsWith('.') || OF_THE_RUN.has(path) || placeOf(entry.name) !== undefined) continue;
    if (entry.isDirectory()) paths.push(...(await modelPaths(folder, path)));
    else paths.push(path);
  }
  return paths.sort();
}
