/*
 * Where what a run reads lies: names of the Hugging Face hub are replaced by the files in the cache, and folders and patterns by
 * the files that they stand for, before anything is read. Checkpoints hold names of the hub again, with the commit, which mean the
 * same on any machine.
 */
import { resolve } from 'node:path';
import { dataFiles, isOneFile } from '../data/data-files.js';
import { STANDARD_INPUT } from '../data/source.js';
import { placeInCache } from '../hub/hub-cache.js';
import { dataName, isHubName, writtenName } from '../hub/hub-name.js';
import { hubCache } from '../hub/hub-settings.js';
import { pullData, pullModel, type HubProgress, type Pulled } from '../hub/pull.js';
import { isJsonObject } from '../files/strict-json.js';
import { SettingError } from '../options/fields.js';
import { plural } from '../options/plural.js';
import { FILES_OF_SET } from './held-out-sets.js';
import { OBJECT } from './objects.js';

/** How a download is followed. */
export interface Fetching {
  readonly signal: AbortSignal | undefined;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
  readonly onWait?: ((message: string) => void) | undefined;
  /** Told what was taken for a name. */
  readonly onFound?: ((message: string) => void) | undefined;
}

/** The split that a run trains on, of a data set that has several. */
const TRAINED_SPLIT = 'train';

/**
 * Settings with paths in the place of names of the hub, which are fetched: of the model, the data, the held-out data and the
 * guide of a loss. The data is a list of files.
 *
 * @throws GradCacheError `HUB`, `INPUT`, `ABORTED`
 */
export async function fromHub<Settings extends object>(settings: Settings, how: Fetching): Promise<Settings> {
  const { model, imageModel, data, datasets, evaluation, loss } = settings as Readonly<
    Record<string, unknown>
  >;
  const found: Record<string, unknown> = {};
  if (isName(model)) found['model'] = await modelOf('config.model', model, how);
  if (isName(imageModel)) found['imageModel'] = await modelOf('config.imageModel', imageModel, how);
  const files = await locate(data, 'config.data', how);
  if (files !== data) found['data'] = files;
  if (Array.isArray(datasets)) {
    const sets: unknown[] = [];
    for (const [place, set] of (datasets as unknown[]).entries()) {
      const setting = `config.datasets[${place}].data`;
      sets.push(isJsonObject(set) ? { ...set, data: await locate(set['data'], setting, how) } : set);
    }
    found['datasets'] = sets;
  }
  const heldOut = await ofHeldOut(evaluation, how);
  if (heldOut !== evaluation) found['evaluation'] = heldOut;
  if (isJsonObject(loss) && isName(loss['guide']))
    found['loss'] = { ...loss, guide: await modelOf('config.loss.guide', loss['guide'], how) };
  return Object.keys(found).length === 0 ? settings : { ...settings, ...found };
}

/** Held-out data, one set or several, with paths. What is no set is left as it is: it is refused when it is read. */
async function ofHeldOut(evaluation: unknown, how: Fetching): Promise<unknown> {
  if (!isJsonObject(evaluation)) return evaluation;
  const { sets } = evaluation;
  const own = await ofSet(evaluation, 'config.evaluation', how);
  if (!isJsonObject(sets)) return own;
  const located: [string, unknown][] = [];
  for (const [name, set] of Object.entries(sets))
    located.push([name, await ofSet(set, `config.evaluation.sets.${name}`, how)]);
  const changed = located.some(([name, set]) => set !== sets[name]);
  return changed ? { ...own, sets: Object.fromEntries(located) } : own;
}

async function ofSet<Set>(set: Set, setting: string, how: Fetching): Promise<Set> {
  if (!isJsonObject(set)) return set;
  const found: Record<string, string> = {};
  for (const name of FILES_OF_SET) {
    const file: unknown = set[name];
    if (isName(file)) found[name] = await fileOf(`${setting}.${name}`, file, how);
    // Told by its path from here on: resolved as one, `-` would be a file in the folder of the day.
    else if (file === '-') found[name] = STANDARD_INPUT;
  }
  return Object.keys(found).length === 0 ? set : { ...set, ...found };
}

/** The files that paths and names of data stand for; what is given, where each stands for itself. */
async function locate(data: unknown, setting: string, how: Fetching): Promise<unknown> {
  const named: readonly unknown[] = Array.isArray(data) ? data : [data];
  if (!named.some((each) => isName(each) || (isText(each) && !isOneFile(each)))) return data;
  const files: unknown[] = [];
  for (const each of named) {
    if (isName(each)) files.push(...(await filesOf(setting, each, TRAINED_SPLIT, how)));
    else files.push(...(isText(each) ? dataFiles([each], TRAINED_SPLIT) : [each]));
  }
  return files;
}

/** A path as a checkpoint keeps it: that of the hub's cache as the name it was fetched by, with its commit. */
export function lastingPath(path: string): string {
  if (isHubName(path) || path === OBJECT) return path;
  const place = placeInCache(hubCache(), path);
  if (place === null) return resolve(path);
  return `${writtenName(place)}${place.inside === '' ? '' : `/${place.inside}`}`;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function isName(value: unknown): value is string {
  return isText(value) && isHubName(value);
}

async function modelOf(setting: string, name: string, how: Fetching): Promise<string> {
  const pulled = await pullModel(setting, name, how);
  tell(name, pulled, how);
  return pulled.folder;
}

async function filesOf(
  setting: string,
  name: string,
  usual: string | null,
  how: Fetching,
): Promise<readonly string[]> {
  const pulled = await pullData(dataName(setting, name), usual, how);
  tell(name, pulled, how);
  return pulled.files;
}

function tell(name: string, { commit, fetched, files, folder }: Pulled, { onFound }: Fetching): void {
  const how = fetched === 0 ? 'from the cache' : `${plural(fetched, 'byte')} fetched`;
  onFound?.(`${name} at ${commit.slice(0, 12)}, ${plural(files.length, 'file')}, ${how}: ${folder}`);
}

async function fileOf(setting: string, name: string, how: Fetching): Promise<string> {
  const files = await filesOf(setting, name, null, how);
  if (files.length === 1) return files[0]!;
  throw new SettingError(
    setting,
    `is ${name}, which has ${plural(files.length, 'file')}; one is needed: name it, as hf:OWNER/NAME/FILE.`,
  );
}
