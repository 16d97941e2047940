import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { fileError } from '../files/file-error.js';
import { all, only, requireKeys, table } from '../files/key-table.js';
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
      if (placeholder !== undefined) throw faultIn(path, placeholder);
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

const OFF = [false, null, []];

/** tokenizer_config.json. Every key is saved again with the model. */
export const TOKENIZER_CONFIG_KEYS = table({
  // Which class of transformers reads the folder, and the options of that class.
  ...all(
    'read',
    'tokenizer_class do_lower_case strip_accents tokenize_chinese_chars add_prefix_space legacy split_by_punct ' +
      'keep_accents extra_ids',
  ),
  // Which tokens are never split.
  ...all('read', 'bos_token eos_token unk_token sep_token pad_token cls_token mask_token'),
  ...all('read', 'additional_special_tokens extra_special_tokens model_specific_special_tokens'),
  ...all('read', 'added_tokens_decoder'),
  // Whether the model is told which part of a text a token belongs to, and how much of a text is kept.
  ...all('read', 'model_input_names model_max_length max_len'),
  truncation_side: only('Name the side that is cut off, "left" or "right".', 'right', 'left'),
  // Where queries are expanded.
  padding_side: only('Name the side that is filled up, "left" or "right".', 'right', 'left'),
  // What could be honoured only by another tokenizer, or by reading tokenizer.json in another way.
  split_special_tokens: only('Say whether special tokens in a text are split.', ...OFF, true),
  fix_mistral_regex: only('It replaces the pre-tokenizer.', ...OFF),
  trust_remote_code: only('Code of the folder is not run.', ...OFF),
  init_inputs: only('Unnamed arguments of a tokenizer class are not supported: remove it.', ...OFF),
  processor_class: only('Tokenizers alone are supported, no processors.', ...OFF),
  fast_tokenizer_files: only('One tokenizer.json serves all versions: remove it.', ['tokenizer.json']),
  ...all(only('tokenizer.json is needed instead.', ...OFF), 'tokenizer_object gguf_file'),
  _spm_precompiled_charsmap: only('tokenizer.json holds the map: remove it.', ...OFF),
  // Decoding, chats, the length of padding (there is none here), paths, and options of tokenizers without a tokenizer.json.
  ...all('kept', 'add_bos_token add_eos_token auto_map backend chat_control_tokens chat_template'),
  ...all('kept', 'clean_up_tokenization_spaces device_map do_basic_tokenize errors files_loaded is_local'),
  ...all('kept', 'clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output'),
  ...all(
    'kept',
    'use_default_system_prompt local_files_only max_length merges_file name_or_path never_split',
  ),
  ...all('kept', 'pad_to_multiple_of pad_token_type_id response_schema response_template'),
  ...all('kept', 'sp_model_kwargs spaces_between_special_tokens special_tokens_map_file stride'),
  ...all('kept', 'tokenizer_file tokenizer_type trim_offsets truncation_strategy use_fast verbose'),
  ...all('kept', 'vocab_file wordpieces_prefix'),
});

function checkTokenizerConfig(config: JsonObject): void {
  requireKeys(NAMES.config, config, TOKENIZER_CONFIG_KEYS);
  const { tokenizer_class: named = null } = config;
  if (named !== null && typeof named !== 'string')
    throw refusedIn(NAMES.config, 'tokenizer_class', named, 'a name');
}
