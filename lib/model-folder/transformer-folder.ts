import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { architectureOf } from '../architectures/architectures.js';
import { GradCacheError } from '../errors.js';
import { readJsonObject } from '../files/json-file.js';
import { requireKeys, type KeptKeys } from '../files/key-table.js';
import { interruptedReplacement } from '../files/replace-folder.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import { inFolder } from './in-folder.js';
import { isModelFolder } from './is-model-folder.js';
import { lengthLimitOf } from './length-limit.js';
import { readWeights } from './model-weights.js';
import type { TransformerConfig } from './sentence-config.js';

/** A transformer and its tokenizer. */
export interface Transformer {
  /** config.json as read. */
  readonly config: Readonly<Record<string, unknown>>;
  /** `model_type` of config.json: `'bert'`, `'roberta'`, … */
  readonly modelType: string;
  /** The transformer's tensors, with the names and dtypes of the file. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The most tokens of a text, special ones included; see {@link lengthLimitOf} for where it comes from. */
  readonly maxLength: number;
  readonly tokenizer: Tokenizer;
}

/** Gives the weights of a folder. */
export type ReadWeights = (folder: string) => Promise<Transformer['tensors']>;

/** What a folder of transformers itself says of a model. */
export interface TransformerFolder extends Transformer {
  /** generation_config.json; null where there is none. */
  readonly generation: KeptKeys | null;
}

/**
 * Reads config.json, the weights and the tokenizer.
 *
 * @param transformer what sentence-transformers' own file says
 * @param base where config.json and the weights are; the tokenizer too, if the folder has none
 * @param read how weights are read
 * @throws GradCacheError `CHECKPOINT`
 */
export async function readTransformer(
  folder: string,
  transformer: TransformerConfig | undefined,
  base = folder,
  read: ReadWeights = readWeights,
): Promise<TransformerFolder> {
  const config = await readConfig(base);
  const modelType = config.model_type as string;
  const home = base === folder || (await hasFile(folder, 'tokenizer.json')) ? folder : base;
  const tokenizerConfig = await readJsonObject(join(home, 'tokenizer_config.json'));
  const maxLength = inFolder(folder, () =>
    lengthLimitOf({
      modelType,
      config,
      sentenceLength: transformer?.maxLength ?? null,
      tokenizerLength:
        tokenizerConfig?.model_max_length === undefined
          ? tokenizerConfig?.max_len
          : tokenizerConfig.model_max_length,
    }),
  );
  const tokenizer = await Tokenizer.fromFile(join(home, 'tokenizer.json'), {
    lowercase: transformer?.lowercase === true,
    tokenizerClass: tokenizerClassOf(modelType, config),
    ...(architectureOf(modelType).fixedTokenizer === true && { fixedClass: true }),
  });
  return {
    config,
    modelType,
    tensors: await read(base),
    maxLength,
    tokenizer,
    generation: (await readJsonObject(join(base, 'generation_config.json'))) ?? null,
  };
}

async function hasFile(folder: string, name: string): Promise<boolean> {
  return (await stat(join(folder, name)).catch(() => null)) !== null;
}

/** A sentence that names the models in a folder that is none itself, such as the output of a run; or undefined. */
async function modelsInside(folder: string): Promise<string | undefined> {
  const names = await readdir(folder).catch((): string[] => []);
  const inside = names.map((name) => join(folder, name));
  const found = (await Promise.all(inside.map(isModelFolder))).flatMap((is, place) =>
    is ? inside[place]! : [],
  );
  if (found.length === 0) return undefined;
  const finished = found.find((path) => basename(path) === 'model');
  return `There is a model in it: give ${finished ?? found.join(' or ')}.`;
}

async function readConfig(folder: string): Promise<Record<string, unknown>> {
  const path = join(folder, 'config.json');
  if ((await readJsonObject(join(folder, 'adapter_config.json'))) !== undefined) {
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} holds an adapter (adapter_config.json), which is supported for text encoders alone; merge it in Python with ` +
        'merge_and_unload() and save the model.',
    );
  }
  const config = await readJsonObject(path);
  if (config === undefined) {
    const way =
      (await interruptedReplacement(folder)) ??
      (await modelsInside(folder)) ??
      'A transformers or sentence-transformers folder is needed.';
    throw new GradCacheError('CHECKPOINT', `${folder} has no config.json. ${way}`);
  }
  if (typeof config.model_type !== 'string')
    throw new GradCacheError('CHECKPOINT', `${path} has no "model_type".`);
  const { model_type: modelType } = config;
  const { keys } = inFolder(folder, () => architectureOf(modelType));
  requireKeys(path, config, keys);
  return config;
}

/** The class that reads the tokenizer of a folder whose tokenizer_config.json names none. */
function tokenizerClassOf(
  modelType: string,
  { tokenizer_class: stated }: Readonly<Record<string, unknown>>,
): string {
  const { tokenizers, fixedTokenizer } = architectureOf(modelType);
  if (typeof stated === 'string' && stated !== '' && fixedTokenizer !== true) return stated;
  return tokenizers[modelType]!;
}
