/*
 * What the tokenizer classes of transformers build around the vocabulary of a tokenizer.json.
 */
import { isJsonObject } from '../files/strict-json.js';
import type { Role } from './stated-tokens.js';

type JsonObject = Readonly<Record<string, unknown>>;

/** What a class builds; `model` goes without the vocabulary and the merges. */
export interface Pipeline {
  readonly normalizer: JsonObject | null;
  readonly pre_tokenizer: JsonObject;
  readonly model: JsonObject;
}

/** What tokenizer_config.json says, as a class asks for it. */
export interface Options {
  /** True or false from tokenizer_config.json. */
  readonly flag: (name: string, otherwise: boolean) => boolean;
  readonly flagOrNull: (name: string) => boolean | null;
  readonly token: (role: Role) => string;
}

export function wordPieces(_: JsonObject, { flag, flagOrNull, token }: Options): Pipeline {
  return {
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: flag('tokenize_chinese_chars', true),
      strip_accents: flagOrNull('strip_accents'),
      lowercase: flag('do_lower_case', true),
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    model: {
      type: 'WordPiece',
      unk_token: token('unk_token'),
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
    },
  };
}

export function bytePairs(_: JsonObject, { flag }: Options): Pipeline {
  return {
    normalizer: null,
    pre_tokenizer: {
      type: 'ByteLevel',
      add_prefix_space: flag('add_prefix_space', false),
      trim_offsets: true,
      use_regex: true,
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
    },
  };
}

/** Where Qwen cuts a text before bytes are paired. */
const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

export function qwenPairs(parsed: JsonObject, options: Options): Pipeline {
  const prefixed = options.flagOrNull('add_prefix_space') === true;
  return {
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: QWEN_WORDS }, behavior: 'Isolated', invert: false },
        {
          ...{ type: 'ByteLevel', add_prefix_space: prefixed, trim_offsets: true, use_regex: false },
        },
      ],
    },
    model: bytePairs(parsed, options).model,
  };
}

/** Pairs of characters, and bytes where there is no character: Llama's way and Gemma's. */
const characterPairs = (unknown: string | null): JsonObject => ({
  ...{ type: 'BPE', dropout: null, unk_token: unknown, continuing_subword_prefix: null },
  ...{ end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false },
});

export function llamaPairs(_: JsonObject, { flagOrNull }: Options): Pipeline {
  const scheme = flagOrNull('legacy') === true ? 'always' : 'first';
  return {
    normalizer: null,
    pre_tokenizer: {
      ...{ type: 'Metaspace', replacement: '▁', split: false },
      prepend_scheme: flagOrNull('add_prefix_space') === false ? 'never' : scheme,
    },
    model: characterPairs(null),
  };
}

export function gemmaPairs(_: JsonObject, { token }: Options): Pipeline {
  return {
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    pre_tokenizer: {
      type: 'Split',
      pattern: { String: ' ' },
      behavior: 'MergedWithPrevious',
      invert: false,
    },
    model: characterPairs(token('unk_token')),
  };
}

/** ALBERT's way: quotes, accents and capitals are taken out before the model's own normalizer. */
export function albertUnigrams(parsed: JsonObject, options: Options): Pipeline {
  const { normalizer: own, ...pipeline } = unigrams(() => 1)(parsed, options);
  const { flag } = options;
  return {
    ...pipeline,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...['``', "''"].map((quotes) => ({ type: 'Replace', pattern: { String: quotes }, content: '"' })),
        ...(flag('keep_accents', false) ? [] : [{ type: 'NFKD' }, { type: 'StripAccents' }]),
        ...(flag('do_lower_case', true) ? [{ type: 'Lowercase' }] : []),
        ...(own === null ? [] : [own]),
      ],
    },
  };
}

/** T5's way: whatever is said of spaces, one stands before every word. */
export function t5Unigrams(parsed: JsonObject, options: Options): Pipeline {
  return unigrams(() => 2)(parsed, { ...options, flag: () => true });
}

/** @param unknown finds the number of the token for what no other token covers */
export function unigrams(unknown: (vocabulary: readonly unknown[], token: string) => number) {
  return (parsed: JsonObject, { flag, token }: Options): Pipeline => ({
    normalizer: precompiledOf(parsed.normalizer),
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'WhitespaceSplit' },
        {
          type: 'Metaspace',
          replacement: '▁',
          prepend_scheme: flag('add_prefix_space', true) ? 'always' : 'never',
          split: true,
        },
      ],
    },
    model: {
      type: 'Unigram',
      unk_id: unknown((parsed.model as { vocab: unknown[] }).vocab, token('unk_token')),
      byte_fallback: false,
    },
  });
}

/** DeBERTa's way: its normalizer is in transformers' code, whatever tokenizer.json says. */
export function debertaUnigrams(parsed: JsonObject, { flag, token }: Options): Pipeline {
  const { vocab } = parsed.model as { vocab: unknown[] };
  const unknown = vocab.findIndex(
    (entry) => Array.isArray(entry) && entry[0] === token('unk_token') && entry[1] === 0,
  );
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(flag('do_lower_case', false) ? [{ type: 'Lowercase' }] : []),
        { type: 'Replace', pattern: { Regex: '\\s{2,}|[\\n\\r\\t]' }, content: ' ' },
        { type: 'NFC' },
        { type: 'Strip', strip_left: false, strip_right: true },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        ...(flag('split_by_punct', false) ? [{ type: 'Punctuation', behavior: 'Isolated' }] : []),
        {
          type: 'Metaspace',
          replacement: '▁',
          prepend_scheme: flag('add_prefix_space', true) ? 'always' : 'first',
          split: true,
        },
      ],
    },
    model: { type: 'Unigram', unk_id: unknown < 0 ? 1 : unknown, byte_fallback: false },
  };
}

/** The only normalizer that the classes with a unigram model take over from tokenizer.json. */
function precompiledOf(normalizer: unknown): JsonObject | null {
  if (!isJsonObject(normalizer)) return null;
  const list: unknown[] =
    normalizer.type === 'Sequence' && Array.isArray(normalizer.normalizers)
      ? normalizer.normalizers
      : [normalizer];
  const found = list.find((each) => isJsonObject(each) && each.type === 'Precompiled');
  return isJsonObject(found)
    ? { type: 'Precompiled', precompiled_charsmap: found.precompiled_charsmap }
    : null;
}
