import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { readJsonObject } from '../files/json-file.js';
import { replaceFile } from '../files/replace-file.js';
import { replaceFolder } from '../files/replace-folder.js';
import { SettingError } from '../options/fields.js';
import { requireString, show } from '../options/option-values.js';
import { readSafetensors, writeSafetensors, type StoredTensor } from '../safetensors/safetensors.js';
import { readLanguageSettings, settingsToStore, type LanguageModelSettings } from './language-settings.js';

/** What config.json says of itself. The format is this package's own. */
const MODEL_TYPE = 'gradcache-language-model';
const CONFIG = 'config.json';
const WEIGHTS = 'model.safetensors';

/** Whether a folder of these names may be one of a language model, which a write replaces. */
export const holdsLanguageModel = (names: readonly string[]): boolean => names.includes(CONFIG);

/** The files of a folder that belong to a language model. */
export const isPartOfLanguageModel = (name: string): boolean => name === CONFIG || name === WEIGHTS;

/** A language model in files. */
export interface LanguageModelFolder {
  readonly settings: LanguageModelSettings;
  readonly weights: ReadonlyMap<string, StoredTensor>;
}

/** @throws GradCacheError `CHECKPOINT` for files that are missing, damaged or of another model */
export async function readLanguageModelFolder(folder: string): Promise<LanguageModelFolder> {
  requireString('the folder of a language model', folder);
  const path = join(folder, CONFIG);
  const config = await readJsonObject(path);
  if (config === undefined)
    throw faultIn(folder, `there is no ${CONFIG}, which a folder of a language model has`);
  const { model_type: type, ...settings } = config;
  if (type !== MODEL_TYPE)
    throw refusedIn(path, 'model_type', type, `${show(MODEL_TYPE)}, that of a language model,`);
  return { settings: settingsIn(settings, path), weights: await readSafetensors(join(folder, WEIGHTS)) };
}

function settingsIn(settings: Readonly<Record<string, unknown>>, path: string): LanguageModelSettings {
  try {
    return readLanguageSettings(settings, path);
  } catch (error) {
    if (!(error instanceof SettingError)) throw error;
    throw new GradCacheError('CHECKPOINT', error.message, { cause: error });
  }
}

/**
 * Writes config.json and model.safetensors. The folder is written beside, then renamed; what else it held stays.
 *
 * @throws GradCacheError `INPUT` where `folder` is a file, or a folder of something else, or cannot be written
 */
export async function writeLanguageModelFolder(folder: string, model: LanguageModelFolder): Promise<void> {
  const config = { model_type: MODEL_TYPE, ...settingsToStore(model.settings) };
  await replaceFolder(folder, {
    write: async (target) => {
      await replaceFile(join(target, CONFIG), (file) =>
        file.writeFile(`${JSON.stringify(config, null, 2)}\n`),
      );
      await writeSafetensors(join(target, WEIGHTS), model.weights);
    },
    recognise: holdsLanguageModel,
    belongs: isPartOfLanguageModel,
  });
}
