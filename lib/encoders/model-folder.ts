import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { reasonOf } from '../realms.js';
import { readJsonObject } from './json-file.js';
import { lengthLimitOf } from './length-limit.js';
import { readWeights } from './model-weights.js';
import { interruptedReplacement } from './replace-folder.js';
import type { StoredTensor } from './safetensors.js';
import { readSentenceModules } from './sentence-modules.js';
import type { DenseLayer, Pooling } from './sentence-modules.js';
import { isJsonObject } from './strict-json.js';
import { Tokenizer } from './tokenizer.js';
import { tokenizerSettingsOf } from './tokenizer-config.js';

export type { Activation, DenseLayer, Pooling } from './sentence-modules.js';
export { writeModelFolder } from './write-model-folder.js';

/** A text encoder as a folder holds it: weights, tokenizer, and what happens between tokens and representation. */
export interface ModelFolder {
  /** config.json as read. */
  readonly config: Readonly<Record<string, unknown>>;
  /** `model_type` of config.json: `'bert'`, `'roberta'`, … */
  readonly modelType: string;
  /** The transformer's tensors, with the names and dtypes of the file. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** `'mean'` where the folder does not say: what sentence-transformers does with a plain transformers folder. */
  readonly pooling: Pooling;
  readonly dense: readonly DenseLayer[];
  /** True where representations are scaled to length one. */
  readonly normalize: boolean;
  /** Texts to put in front of an input, by name, e.g. `{ query: 'query: ' }`. */
  readonly prompts: Readonly<Record<string, string>>;
  /** Name of the prompt that is used where none is asked for. */
  readonly defaultPrompt: string | null;
  /** The most tokens of a text, special ones included; see {@link lengthLimitOf} for where it comes from. */
  readonly maxLength: number;
  readonly tokenizer: Tokenizer;
  /** `similarity_fn_name` of sentence-transformers: `'cosine'`, `'dot'`, …; what evaluation compares by. */
  readonly similarity?: string | null;
}

/**
 * The names under which sentence_bert_config.json goes, and its keys that change what a model computes in a way that
 * is not supported, with the values at which they change nothing.
 */
const SENTENCE_CONFIGS = ['bert', 'roberta', 'distilbert', 'camembert', 'albert', 'xlm-roberta', 'xlnet'].map(
  (model) => `sentence_${model}_config.json`,
);
const NEUTRAL_SENTENCE_CONFIG: Readonly<Record<string, readonly string[]>> = {
  transformer_task: ['"feature-extraction"'],
  modality_config: ['{"text":{"method":"forward","method_output_name":"last_hidden_state"}}'],
  module_output_name: ['"token_embeddings"'],
  processing_kwargs: ['{}', 'null'],
  query_expansion: ['null'],
};
/** Keyword arguments of the Python classes that choose a data type or an implementation, not a result. */
const HARMLESS_ARGUMENTS = new Set([
  'dtype',
  'torch_dtype',
  'attn_implementation',
  'trust_remote_code',
  'model_max_length',
]);

/**
 * Reads a transformers folder (config.json, model.safetensors or its shards, tokenizer.json) or a sentence-transformers
 * folder (modules.json with Transformer, Pooling, Dense, Normalize; prompts; max_seq_length), old and new layouts.
 *
 * @throws GradCacheError `CHECKPOINT` for damaged or missing files and for anything that cannot be honoured exactly; the
 * message names the file, what was found there and what would do.
 */
export async function readModelFolder(path: string): Promise<ModelFolder> {
  await requireFolder(path);
  const modules = await readSentenceModules(path);
  const folder = modules?.transformerFolder ?? path;
  const config = await readConfig(folder);
  const modelType = config.model_type as string;
  const sentenceConfig = modules ? await readSentenceConfig(folder) : {};
  const tokenizerConfig = await readJsonObject(join(folder, 'tokenizer_config.json'));
  const maxLength = lengthLimitOf({
    modelType,
    config,
    sentenceConfig,
    tokenizerConfig: tokenizerConfig ?? {},
  });
  if (maxLength === undefined) {
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} states no length limit: set max_seq_length in sentence_bert_config.json or model_max_length in tokenizer_config.json.`,
    );
  }
  const settings = tokenizerSettingsOf(tokenizerConfig, modelType, sentenceConfig.do_lower_case === true);
  const tokenizer = await Tokenizer.fromFile(join(folder, 'tokenizer.json'), settings);
  const tensors = await readWeights(folder);
  return {
    config,
    modelType,
    tensors,
    pooling: modules?.pooling ?? 'mean',
    dense: modules?.dense ?? [],
    normalize: modules?.normalize ?? false,
    ...(await readPrompts(path)),
    maxLength,
    tokenizer,
  };
}

async function requireFolder(path: string): Promise<void> {
  let reason = 'it is not a folder';
  let absent = false;
  try {
    if ((await stat(path)).isDirectory()) return;
  } catch (error) {
    reason = reasonOf(error);
    absent = true;
  }
  const interrupted = absent ? await interruptedReplacement(path) : undefined;
  const way = interrupted
    ? ` ${interrupted} beside it is a complete model that an interrupted save left: rename it back.`
    : '';
  const download =
    absent && isHubName(path)
      ? ' Nothing is downloaded: fetch it first, for instance with `hf download NAME --local-dir FOLDER`.'
      : '';
  throw new GradCacheError(
    'CHECKPOINT',
    `${path} cannot be read as a model folder: ${reason}.${way}${download}`,
  );
}

/** `owner/name`, as models are called on the Hugging Face hub. */
function isHubName(path: string): boolean {
  return /^[\w-]+\/[\w.-]+$/.test(path);
}

async function readConfig(folder: string): Promise<Record<string, unknown>> {
  const path = join(folder, 'config.json');
  const config = await readJsonObject(path);
  if (config === undefined) {
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} has no config.json; a transformers or sentence-transformers folder is needed.`,
    );
  }
  if (typeof config.model_type !== 'string')
    throw new GradCacheError('CHECKPOINT', `${path} has no "model_type".`);
  if (config.quantization_config !== undefined && config.quantization_config !== null) {
    throw new GradCacheError(
      'CHECKPOINT',
      `${path} describes quantized weights; save the model unquantized.`,
    );
  }
  if ((await readJsonObject(join(folder, 'adapter_config.json'))) !== undefined) {
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} holds an adapter (adapter_config.json); merge it in Python with merge_and_unload() and save the model.`,
    );
  }
  return config;
}

async function readSentenceConfig(folder: string): Promise<Record<string, unknown>> {
  for (const name of SENTENCE_CONFIGS) {
    const path = join(folder, name);
    const config = await readJsonObject(path);
    if (config === undefined) continue;
    for (const [key, neutral] of Object.entries(NEUTRAL_SENTENCE_CONFIG)) {
      const value = JSON.stringify(config[key]);
      if (value !== undefined && !neutral.includes(value)) {
        throw new GradCacheError('CHECKPOINT', `${path}: ${key} is ${value}; supported is ${neutral[0]}.`);
      }
    }
    let length = config.max_seq_length;
    for (const [key, value] of Object.entries(config)) {
      if (!/_(args|kwargs)$/.test(key) || !isJsonObject(value)) continue;
      const other = Object.keys(value).find((argument) => !HARMLESS_ARGUMENTS.has(argument));
      if (other !== undefined) {
        throw new GradCacheError('CHECKPOINT', `${path}: ${key} sets ${other}, which is not supported.`);
      }
      length = value.model_max_length ?? length;
    }
    return { ...config, max_seq_length: length };
  }
  return {};
}

async function readPrompts(
  folder: string,
): Promise<Pick<ModelFolder, 'prompts' | 'defaultPrompt' | 'similarity'>> {
  const path = join(folder, 'config_sentence_transformers.json');
  const config = (await readJsonObject(path)) ?? {};
  const fail = (reason: string) => new GradCacheError('CHECKPOINT', `${path}: ${reason}.`);
  const { model_type: kind = 'SentenceTransformer', prompts = {}, default_prompt_name: name = null } = config;
  if (kind !== 'SentenceTransformer')
    throw fail(`model_type is ${JSON.stringify(kind)}; supported is "SentenceTransformer"`);
  if (!isJsonObject(prompts)) throw fail('"prompts" is not an object');
  const texts: [string, string][] = [];
  for (const [prompt, text] of Object.entries(prompts)) {
    if (text !== null && typeof text !== 'string')
      throw fail(`the prompt ${JSON.stringify(prompt)} is not a string`);
    texts.push([prompt, text ?? '']);
  }
  const known = Object.fromEntries(texts);
  if (name !== null && (typeof name !== 'string' || !Object.hasOwn(known, name))) {
    throw fail(
      `default_prompt_name is ${JSON.stringify(name)}, which is none of the prompts (${Object.keys(known).join(', ')})`,
    );
  }
  const similarity = typeof config.similarity_fn_name === 'string' ? config.similarity_fn_name : null;
  return { prompts: known, defaultPrompt: name, similarity };
}
