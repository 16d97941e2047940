import { join } from 'node:path';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { keptKeys, requireKeys, type KeptKeys, type KeyTable } from '../files/key-table.js';
import { readJsonObject } from '../files/json-file.js';
import { isJsonObject } from '../files/strict-json.js';

/** sentence_bert_config.json: how sentence-transformers feeds the transformer. */
export interface TransformerConfig {
  /** The file that says it, for messages. */
  readonly path: string;
  /** The most tokens of a text, special ones included; null where the file does not say. */
  readonly maxLength: number | null;
  readonly lowercase: boolean;
  /** What the model computes; undefined where the file does not say. */
  readonly task: unknown;
  /** All that the file says. */
  readonly content: KeptKeys;
  /** Limits for queries and for documents alone, which hold in `encode_query` and `encode_document`; null: none. */
  readonly taskLengths: { readonly query: number | null; readonly document: number | null };
  readonly kept: KeptKeys;
}

/** config_sentence_transformers.json: what holds for the whole model. */
export interface ModelConfig {
  /** Texts to put in front of an input, by name. */
  readonly prompts: Readonly<Record<string, string>>;
  readonly defaultPrompt: string | null;
  readonly similarity: string | null;
  /** How many numbers of a representation `encode` gives; null: all. */
  readonly truncateDimension: number | null;
  /** All that the file says. */
  readonly content: KeptKeys;
  /** What a cross-encoder applies to logits: `activation_fn`. */
  readonly activation: unknown;
  readonly kept: KeptKeys;
}

/** The names under which sentence_bert_config.json goes, in the order in which sentence-transformers looks for them. */
const NAMES = ['bert', 'roberta', 'distilbert', 'camembert', 'albert', 'xlm-roberta', 'xlnet'].map(
  (model) => `sentence_${model}_config.json`,
);
/** Keyword arguments of the Python classes that choose a data type or an implementation, not a result. */
const HARMLESS_ARGUMENTS = new Set([
  'dtype',
  'torch_dtype',
  'attn_implementation',
  'trust_remote_code',
  'model_max_length',
]);

/**
 * @param keys what its keys mean
 * @throws GradCacheError `CHECKPOINT` for what cannot be honoured exactly, naming the file and the key
 */
export async function readTransformerConfig(folder: string, keys: KeyTable): Promise<TransformerConfig> {
  for (const name of NAMES) {
    const path = join(folder, name);
    const config = await readJsonObject(path);
    if (config === undefined || Object.keys(config).length === 0) continue;
    requireKeys(path, config, keys);
    const { max_seq_length: stated, do_lower_case: lowercase = false } = config;
    if (typeof lowercase !== 'boolean') throw refusedIn(path, 'do_lower_case', lowercase, 'true or false');
    return {
      path,
      maxLength: lengthOf(path, 'max_seq_length', lengthInArguments(path, config) ?? stated),
      lowercase,
      task: config.transformer_task,
      content: config,
      taskLengths: {
        query: lengthOf(path, 'query_length', config.query_length),
        document: lengthOf(path, 'document_length', config.document_length),
      },
      kept: withoutLength(keptKeys(config, keys)),
    };
  }
  const path = join(folder, NAMES[0]!);
  const taskLengths = { query: null, document: null };
  const nothing = { task: undefined, content: {}, taskLengths, kept: {} } as const;
  return { path, maxLength: null, lowercase: false, ...nothing };
}

/**
 * A cross-encoder reads pairs, which have one length.
 *
 * @throws GradCacheError `CHECKPOINT` where queries or documents have another than the model's
 */
export function requireOneLength({ path, taskLengths }: TransformerConfig, maxLength: number): void {
  for (const [task, value] of Object.entries(taskLengths)) {
    if (value === null || value === maxLength) continue;
    const way = `A cross-encoder reads pairs: remove ${task}_length, or state it as max_seq_length`;
    throw faultIn(path, `${task}_length is ${value}, where the model's length is ${maxLength}. ${way}`);
  }
}

const isArguments = (key: string): boolean => /_(args|kwargs)$/.test(key) && key !== 'processing_kwargs';

function lengthInArguments(path: string, config: KeptKeys): unknown {
  let length: unknown;
  for (const [key, value] of Object.entries(config)) {
    if (!isArguments(key)) continue;
    if (!isJsonObject(value)) throw refusedIn(path, key, value, 'an object');
    const other = Object.keys(value).find((argument) => !HARMLESS_ARGUMENTS.has(argument));
    if (other !== undefined) throw faultIn(path, `${key} sets ${other}, which is not supported`);
    length = value.model_max_length ?? length;
  }
  return length;
}

/** A saved folder states its length as max_seq_length; in the arguments it would win over that. */
function withoutLength(kept: KeptKeys): KeptKeys {
  return Object.fromEntries(
    Object.entries(kept).map(([key, value]) => {
      if (!isArguments(key)) return [key, value];
      const { model_max_length: _, ...rest } = value as Record<string, unknown>;
      return [key, rest];
    }),
  );
}

function lengthOf(path: string, key: string, value: unknown): number | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1)
    throw refusedIn(path, key, value, 'a whole number from 1');
  return value;
}

/** The file of what holds for the whole model. */
export const MODEL_CONFIG = 'config_sentence_transformers.json';

/** The kind of model that a folder says it holds, such as `'CrossEncoder'`; undefined where it does not say. */
export async function statedKind(folder: string): Promise<unknown> {
  return (await readJsonObject(join(folder, MODEL_CONFIG)))?.['model_type'];
}

/**
 * @param keys what its keys mean
 * @throws GradCacheError `CHECKPOINT` for what cannot be honoured exactly, naming the file and the key
 */
export async function readModelConfig(folder: string, keys: KeyTable): Promise<ModelConfig> {
  const path = join(folder, MODEL_CONFIG);
  const config = (await readJsonObject(path)) ?? {};
  requireKeys(path, config, keys);
  const { prompts = {}, default_prompt_name: name = null, similarity_fn_name: similarity = null } = config;
  if (!isJsonObject(prompts)) throw refusedIn(path, 'prompts', prompts, 'an object');
  const texts = Object.entries(prompts).map(([prompt, text]): [string, string] => {
    if (text !== null && typeof text !== 'string')
      throw refusedIn(path, `the prompt ${JSON.stringify(prompt)}`, text, 'a string');
    return [prompt, text ?? ''];
  });
  const known = Object.fromEntries(texts);
  if (name !== null && (typeof name !== 'string' || !Object.hasOwn(known, name))) {
    const names = Object.keys(known).join(', ');
    throw refusedIn(path, 'default_prompt_name', name, `one of the prompts (${names})`);
  }
  if (similarity !== null && typeof similarity !== 'string')
    throw refusedIn(path, 'similarity_fn_name', similarity, 'the name of a similarity, or null');
  return {
    prompts: known,
    defaultPrompt: name,
    similarity,
    truncateDimension: lengthOf(path, 'truncate_dim', config.truncate_dim),
    content: config,
    activation: config.activation_fn,
    kept: keptKeys(config, keys),
  };
}
