import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonObject } from '../files/strict-json.js';
import { readJsonObject } from '../files/json-file.js';
import { replaceFile } from '../files/replace-file.js';
import { writeJson } from '../files/write-json.js';
import { fileError } from '../files/file-error.js';
import { refusedConfig, type Config } from '../architectures/config-values.js';
import { GradCacheError } from '../errors.js';
import { folderOfModel } from '../hub/pull.js';
import { inFolder } from '../model-folder/in-folder.js';
import { belongsToModel, FLOATS, replaceModel } from '../model-folder/write-model-folder.js';
import { readWeights } from '../model-folder/model-weights.js';
import { writeSafetensors, type StoredTensor } from '../safetensors/safetensors.js';
import { PREPROCESSING_FILE } from './preprocessing.js';
import type { VisionKind } from './vision-tower.js';

/** A folder of a model with a tower of pictures, as transformers saves it. */
export interface PictureFolder {
  /** Where it was read; '' for a model that was made. */
  readonly folder: string;
  readonly config: Config;
  readonly kind: VisionKind;
  /** Whether there is a tower of captions too. */
  readonly both: boolean;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Its other files, of the tokenizer and of what prepares pictures, as they are. */
  readonly companions: ReadonlyMap<string, Uint8Array>;
}

const KINDS: Readonly<Record<string, { readonly kind: VisionKind; readonly both: boolean }>> = {
  clip: { kind: 'clip', both: true },
  siglip: { kind: 'siglip', both: true },
  clip_vision_model: { kind: 'clip', both: false },
  siglip_vision_model: { kind: 'siglip', both: false },
  vit: { kind: 'vit', both: false },
};

/** @throws GradCacheError `CHECKPOINT`, `HUB` */
export async function readPictureFolder(name: string): Promise<PictureFolder> {
  const folder = await folderOfModel('the model', name);
  const config = await readJsonObject(join(folder, 'config.json'));
  if (config === undefined)
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} has no config.json. A folder of transformers is needed.`,
    );
  const known = inFolder(folder, () => kindOf(config));
  return {
    ...{ folder, config },
    ...known,
    tensors: await readWeights(folder),
    companions: await companionsIn(folder),
  };
}

/** Whether a config.json is of a model with towers of pictures and of captions. */
export function hasBothTowers(config: Config): boolean {
  return knownKind(config)?.both === true;
}

/** Whether a config.json is of a model of pictures that has no tower of captions. */
export function isOfPicturesAlone(config: Config): boolean {
  return knownKind(config)?.both === false;
}

function knownKind({ model_type: modelType }: Config): (typeof KINDS)[string] | undefined {
  return typeof modelType === 'string' && Object.hasOwn(KINDS, modelType) ? KINDS[modelType] : undefined;
}

function kindOf(config: Config): { readonly kind: VisionKind; readonly both: boolean } {
  const known = knownKind(config);
  if (known !== undefined) return known;
  throw refusedConfig(
    'model_type',
    config['model_type'],
    `one of ${Object.keys(KINDS).join(', ')}, for pictures,`,
  );
}

/**
 * The folder of a tower of pictures that begins with random weights.
 *
 * @param preprocessor the content of preprocessor_config.json
 * @throws GradCacheError `CHECKPOINT`
 */
export function newPictureFolder(
  config: Config,
  preprocessor: Readonly<Record<string, unknown>>,
): PictureFolder {
  const { kind, both } = kindOf(config);
  if (both)
    throw refusedConfig('model_type', config['model_type'], 'vit, clip_vision_model or siglip_vision_model');
  const companions = new Map([[PREPROCESSING_FILE, asBytes(preprocessor)]]);
  return { ...{ folder: '', config, kind, both }, tensors: new Map(), companions };
}

/** A JSON file of a model that is made. */
export function asBytes(content: object): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(content, null, 2)}\n`);
}

/**
 * The folder of a model with both towers that is made, still without weights.
 *
 * @param companions its other files
 * @throws GradCacheError `CHECKPOINT`
 */
export function newBothTowers(
  config: Config,
  companions: ReadonlyMap<string, Uint8Array>,
): PictureFolder & { readonly kind: 'clip' | 'siglip' } {
  const { kind, both } = kindOf(config);
  if (!both || kind === 'vit')
    throw refusedConfig('model_type', config['model_type'], 'clip or siglip, which have captions,');
  return { ...{ folder: '', config, kind, both }, tensors: new Map(), companions };
}

/** The configuration of a tower inside that of the model. @throws GradCacheError `CHECKPOINT` */
export function towerPart({ config, both }: PictureFolder, key: 'vision_config' | 'text_config'): Config {
  if (!both) return config;
  const part = config[key] ?? {};
  if (isJsonObject(part)) return part;
  throw refusedConfig(key, part, 'an object');
}

/** Files of a model beside its configuration, its weights and those of a loss. */
async function companionsIn(folder: string): Promise<Map<string, Uint8Array>> {
  const names = await readdir(folder).catch((error: Error) => {
    throw fileError('CHECKPOINT', folder, 'read', error);
  });
  const others = names.filter(
    (name) => belongsToModel(name) && !/^(config\.json|(model|loss).*safetensors.*)$/.test(name),
  );
  const companions = new Map<string, Uint8Array>();
  for (const name of others) {
    // A module of sentence-transformers is a folder; its weights are those of the model, and nothing here reads it.
    const content = await readFile(join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EISDIR') return undefined;
      throw fileError('CHECKPOINT', join(folder, name), 'read', error);
    });
    if (content !== undefined) companions.set(name, content);
  }
  return companions;
}

/**
 * Writes a folder that transformers opens as it opens the one that was read.
 *
 * @throws GradCacheError `INPUT`
 */
export async function writePictureFolder(
  path: string,
  { config, companions }: PictureFolder,
  tensors: ReadonlyMap<string, StoredTensor>,
): Promise<void> {
  await replaceModel(path, async (folder) => {
    await writeJson(join(folder, 'config.json'), config, FLOATS);
    await writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
    for (const [name, bytes] of companions)
      await replaceFile(join(folder, name), (file) => file.writeFile(bytes));
  });
}
