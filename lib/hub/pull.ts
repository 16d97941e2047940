import { join } from 'node:path';
import { tell } from '../options/synchronous.js';
import { checkKnown } from '../options/known-options.js';
import {
  requireBoolean,
  requireFunction,
  requireOneOf,
  requireSignal,
  requireString,
} from '../options/option-values.js';
import { dataFiles } from './data-files.js';
import { dataName, isHubName, modelName, type HubData, type RepositoryKind } from './hub-name.js';
import { hubSettings } from './hub-settings.js';
import { modelFiles } from './model-files.js';
import { takeSnapshot, type HubProgress, type Snapshot } from './snapshot.js';

export type { HubProgress } from './snapshot.js';

/** What {@link pull} takes. */
export interface PullOptions {
  /** Default: `'model'`. */
  readonly kind?: RepositoryKind | undefined;
  /** Ask the hub what the revision names now. Default true; false: what is in the cache is good, and no request is made. */
  readonly renew?: boolean | undefined;
  /** Ends the download; what has come is kept. */
  readonly signal?: AbortSignal | undefined;
  /** Called when more bytes have come. */
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
  /** Called when the download waits: for another process, or because the hub asks to. */
  readonly onWait?: ((message: string) => void) | undefined;
}

/** What {@link pull} has brought. */
export interface Pulled {
  /** The folder in the cache, which `TextEncoder.load` opens. */
  readonly folder: string;
  /** The commit that the revision named. */
  readonly commit: string;
  /** The files that were wanted, with full paths. */
  readonly files: readonly string[];
  /** Bytes that were fetched: 0 if all was there. */
  readonly fetched: number;
}

/**
 * Brings a model or a data set of the Hugging Face hub into the cache, which is the one of Python's huggingface_hub. Of a
 * model, it fetches the files that it is loaded from; of a data set, its Parquet, JSONL, CSV or TSV files. Interrupted
 * downloads go on where they ended, and each file is compared with the digest that the hub states.
 *
 * HF_HOME, HF_HUB_CACHE, HF_TOKEN, the token file, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean there.
 *
 * ```ts
 * const { folder } = await pull('sentence-transformers/all-MiniLM-L6-v2');
 * ```
 *
 * @param name `owner/name`, with `@revision` behind it if wanted; of a data set also `/part` and `:split`
 * @throws GradCacheError `HUB` where the hub cannot be reached, refuses, or sends other bytes than it lists; `INPUT` for a
 * wrong name, and where the cache cannot be written; `ABORTED`
 */
export async function pull(name: string, options: PullOptions = {}): Promise<Pulled> {
  requireString('name', name);
  checkKnown('pull', options, ['kind', 'renew', 'signal', 'onProgress', 'onWait']);
  const { kind = 'model', renew = true, signal, onProgress, onWait } = options;
  requireOneOf('kind', kind, ['model', 'dataset']);
  requireBoolean('renew', renew);
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  if (onWait !== undefined) requireFunction('onWait', onWait);
  const how = {
    renew,
    signal,
    onProgress: onProgress && ((progress: HubProgress) => tell('onProgress', onProgress, progress)),
    onWait: onWait && ((message: string) => tell('onWait', onWait, message)),
  };
  return kind === 'model' ? pullModel('name', name, how) : pullData(dataName('name', name), undefined, how);
}

type How = Omit<PullOptions, 'kind'>;

/** A model of the hub. @param setting what the name was given as, for messages */
export async function pullModel(setting: string, name: string, how: How): Promise<Pulled> {
  const repository = modelName(setting, name);
  const { signal, onWait, renew = false, onProgress } = how;
  const hub = { settings: hubSettings(), signal, onWait };
  return withPaths(await takeSnapshot(hub, { repository, choose: modelFiles, renew, onProgress }));
}

/**
 * The files of a split of a data set of the hub.
 *
 * @param usual the split that is taken of several if the name states none; null: none is; undefined: all of them
 */
export async function pullData(data: HubData, usual: string | null | undefined, how: How): Promise<Pulled> {
  const { signal, onWait, renew = false, onProgress } = how;
  const hub = { settings: hubSettings(), signal, onWait };
  return withPaths(
    await takeSnapshot(hub, {
      repository: data,
      choose: (listing, read) => dataFiles(data, listing, read, usual),
      renew,
      onProgress,
    }),
  );
}

/** The folder of a model: that of a name of the hub is in the cache, or fetched into it; any other text is a path. */
export async function folderOfModel(setting: string, folder: string): Promise<string> {
  return isHubName(folder) ? (await pullModel(setting, folder, {})).folder : folder;
}

function withPaths({ folder, files, ...snapshot }: Snapshot): Pulled {
  return { ...snapshot, folder, files: files.map((path) => join(folder, path)) };
}
