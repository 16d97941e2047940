import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { show } from '../options/option-values.js';
import { placeholderIn } from '../files/placeholder.js';
import { isJsonObject } from '../files/strict-json.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** The files beside a tokenizer.json by which transformers decides how to read it, parsed. */
export interface TokenizerFiles {
  /** tokenizer_config.json */
  readonly config?: JsonObject | undefined;
  /** special_tokens_map.json */
  readonly specialTokensMap?: JsonObject | undefined;
  /** added_tokens.json */
  readonly addedTokens?: JsonObject | undefined;
}

const NAMES = {
  config: 'tokenizer_config.json',
  specialTokensMap: 'special_tokens_map.json',
  addedTokens: 'added_tokens.json',
} as const;

/** Files that transformers keeps beside tokenizer.json; they go wherever it goes. */
const COMPANIONS =
  /^(tokenizer_config|special_tokens_map|added_tokens|vocab)\.json$|^(vocab\.txt|merges\.txt|bpe\.codes|.*\.model)$/;

/**
 * Reads the files of a tokenizer that lie in a folder beside tokenizer.json: their content by name.
 *
 * @throws GradCacheError `CHECKPOINT`, naming the file, where one cannot be read or was not fetched.
 */
export async function readCompanions(folder: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const companions = new Map<string, Uint8Array>();
  let path = folder;
  try {
    for (const name of await readdir(folder)) {
      if (!COMPANIONS.test(name)) continue;
      path = join(folder, name);
      const bytes = await readFile(path);
      const placeholder = placeholderIn(bytes);
      if (placeholder !== undefined) throw new GradCacheError('CHECKPOINT', `${path}: ${placeholder}.`);
      companions.set(name, bytes);
    }
  } catch (error) {
    throw error instanceof GradCacheError ? error : fileError('CHECKPOINT', path, 'read', error);
  }
  return companions;
}

/**
 * Parses those of the files that are there.
 *
 * @throws GradCacheError `CHECKPOINT` for a file that is not a JSON object, or says what cannot be honoured.
 */
export function parseTokenizerFiles(companions: ReadonlyMap<string, Uint8Array>): TokenizerFiles {
  const read = (name: string): JsonObject | undefined => {
    const bytes = companions.get(name);
    if (bytes === undefined) return undefined;
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder().decode(bytes));
    } catch (error) {
      throw new GradCacheError('CHECKPOINT', `${name} is not JSON: ${(error as Error).message}.`, {
        cause: error,
      });
    }
    if (!isJsonObject(value)) throw new GradCacheError('CHECKPOINT', `${name} is not a JSON object.`);
    return value;
  };
  const config = read(NAMES.config);
  if (config) checkTokenizerConfig(config);
  return { config, specialTokensMap: read(NAMES.specialTokensMap), addedTokens: read(NAMES.addedTokens) };
}

/**
 * What happens to a key of tokenizer_config.json: `honoured`; `nothing`, because it changes no token id here nor in
 * transformers; or a test of its value, which refuses what cannot be honoured and says why. A key that is not listed
 * changes nothing in transformers either. Every key is saved again with the model.
 */
type Treatment = 'honoured' | 'nothing' | ((value: unknown) => string | undefined);

const onlyWithout =
  (reason: string): Treatment =>
  (value) =>
    value === null || value === false || (Array.isArray(value) && value.length === 0) ? undefined : reason;

export const TOKENIZER_CONFIG_KEYS: Readonly<Record<string, Treatment>> = {
  // Which class of transformers reads the folder, and the options of that class.
  tokenizer_class: (value) => (value === null || typeof value === 'string' ? undefined : 'a name is needed'),
  do_lower_case: 'honoured',
  strip_accents: 'honoured',
  tokenize_chinese_chars: 'honoured',
  add_prefix_space: 'honoured',
  // Which tokens are never split.
  bos_token: 'honoured',
  eos_token: 'honoured',
  unk_token: 'honoured',
  sep_token: 'honoured',
  pad_token: 'honoured',
  cls_token: 'honoured',
  mask_token: 'honoured',
  additional_special_tokens: 'honoured',
  extra_special_tokens: 'honoured',
  model_specific_special_tokens: 'honoured',
  added_tokens_decoder: 'honoured',
  // Whether the model is told which part of a text a token belongs to.
  model_input_names: 'honoured',
  // How much of a text is kept.
  model_max_length: 'honoured',
  max_len: 'honoured',
  truncation_side: (value) =>
    value === 'left' || value === 'right' ? undefined : '"left" or "right" is needed',
  // What only the reading of another tokenizer, or of tokenizer.json by other means, could honour.
  split_special_tokens: onlyWithout('special tokens in a text would have to be split; set it to false'),
  fix_mistral_regex: onlyWithout('it replaces the pre-tokenizer; set it to false'),
  trust_remote_code: onlyWithout('code of the folder is not run; set it to false'),
  init_inputs: onlyWithout('unnamed arguments of a tokenizer class are not supported; remove it'),
  processor_class: onlyWithout('only tokenizers are supported, no processors; set it to null'),
  fast_tokenizer_files: (value) =>
    JSON.stringify(value) === '["tokenizer.json"]'
      ? undefined
      : 'one tokenizer.json for all versions is needed; remove it',
  tokenizer_object: onlyWithout('tokenizer.json is needed instead'),
  _spm_precompiled_charsmap: onlyWithout('tokenizer.json holds the map; remove it'),
  gguf_file: onlyWithout('tokenizer.json is needed instead'),
  // Decoding, chats, padding (there is none here), paths, and options of tokenizers without a tokenizer.json.
  add_bos_token: 'nothing',
  add_eos_token: 'nothing',
  auto_map: 'nothing',
  backend: 'nothing',
  chat_control_tokens: 'nothing',
  chat_template: 'nothing',
  clean_up_tokenization_spaces: 'nothing',
  clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output: 'nothing',
  device_map: 'nothing',
  do_basic_tokenize: 'nothing',
  errors: 'nothing',
  files_loaded: 'nothing',
  is_local: 'nothing',
  keep_accents: 'nothing',
  legacy: 'nothing',
  local_files_only: 'nothing',
  max_length: 'nothing',
  merges_file: 'nothing',
  name_or_path: 'nothing',
  never_split: 'nothing',
  pad_to_multiple_of: 'nothing',
  pad_token_type_id: 'nothing',
  padding_side: 'nothing',
  response_schema: 'nothing',
  response_template: 'nothing',
  sp_model_kwargs: 'nothing',
  spaces_between_special_tokens: 'nothing',
  special_tokens_map_file: 'nothing',
  stride: 'nothing',
  tokenizer_file: 'nothing',
  tokenizer_type: 'nothing',
  trim_offsets: 'nothing',
  truncation_strategy: 'nothing',
  use_fast: 'nothing',
  verbose: 'nothing',
  vocab_file: 'nothing',
  wordpieces_prefix: 'nothing',
};

function checkTokenizerConfig(config: JsonObject): void {
  for (const [key, value] of Object.entries(config)) {
    const treatment = Object.hasOwn(TOKENIZER_CONFIG_KEYS, key) ? TOKENIZER_CONFIG_KEYS[key] : undefined;
    const reason = typeof treatment === 'function' ? treatment(value) : undefined;
    if (reason !== undefined) {
      throw new GradCacheError('CHECKPOINT', `tokenizer_config.json: ${key} is ${show(value)}; ${reason}.`);
    }
  }
}
