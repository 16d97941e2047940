import { bytePairs, unigrams, wordPieces, type TokenizerJson } from '../oracle/small-tokenizers.js';

/*
 * Parts of tokenizers of every kind that the tokenizers library knows, with values on which it has ended the process.
 */

/** A sentencepiece map that turns `a` into `bcd` and `b` into nothing. */
export function smallCharsmap(): Buffer {
  const units = new Uint32Array(512);
  const child = (byte: number, place: number, replacement: number) => {
    units[byte] = (((byte ^ place) << 10) | 0x100 | byte) >>> 0;
    units[place] = (0x80000000 | replacement) >>> 0;
  };
  child(0x61, 256, 0);
  child(0x62, 300, 3);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(4 * units.length);
  return Buffer.concat([size, Buffer.from(units.buffer), Buffer.from('bcd\0')]);
}

export const patterns = [
  // Published tokenizers have these: GPT-2, GPT-4, o200k, Llama 3, T5.
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  ' {2,}',
  '\\s+',
  '\\p{N}',
  '\\d{3}(?=(\\d{3})?\\b)',
  '(?<=[a-z])[A-Z]',
  '\\w+|[^\\w\\s]+',
];

/** Patterns that are no patterns, or that may take too many tries. */
export const badPatterns = [
  '(a+)+$',
  '(a|a)*b',
  '(?:a?){30}a{30}',
  '(\\w+\\s?)*:',
  'a*a*[bc]',
  '\\s*\\s+x',
  '(a)\\1+',
  '(?x)(a+) +',
  '[z-a]',
  '(',
  'a{2,1}',
  '\\',
  '((a{1000}){1000}){1000}',
];

const precompiled = { type: 'Precompiled', precompiled_charsmap: smallCharsmap().toString('base64') };
const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
const regexes = [...patterns, ...badPatterns].map((Regex) => ({ Regex }));

export const normalizers: unknown[] = [
  null,
  precompiled,
  {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  ...['NFC', 'NFD', 'NFKC', 'NFKD', 'Nmt', 'Lowercase', 'StripAccents', 'ByteLevel'].map((type) => ({
    type,
  })),
  { type: 'Strip', strip_left: true, strip_right: true },
  { type: 'Prepend', prepend: '▁' },
  replace({ String: ' ' }, '▁'),
  replace({ String: '' }, 'x'),
  ...regexes.map((pattern) => replace(pattern, 'a ')),
  { type: 'Sequence', normalizers: [{ type: 'NFD' }, { type: 'Lowercase' }, { type: 'StripAccents' }] },
  { type: 'Sequence', normalizers: Array.from({ length: 30 }, () => replace({ String: 'a' }, 'aa')) },
];

export const preTokenizers: unknown[] = [
  null,
  ...['BertPreTokenizer', 'Whitespace', 'WhitespaceSplit', 'UnicodeScripts'].map((type) => ({ type })),
  { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
  { type: 'Punctuation', behavior: 'Contiguous' },
  { type: 'Digits', individual_digits: true },
  { type: 'CharDelimiterSplit', delimiter: 'a' },
  { type: 'FixedLength', length: 3 },
  { type: 'FixedLength', length: 0 },
  ...regexes.flatMap((pattern) =>
    ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'].map((behavior, index) => ({
      type: 'Split',
      pattern,
      behavior,
      invert: index % 2 === 0,
    })),
  ),
  {
    type: 'Sequence',
    pretokenizers: [
      { type: 'WhitespaceSplit' },
      { type: 'Split', pattern: { Regex: patterns[1] }, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  },
];

const template = wordPieces().post_processor as Record<string, unknown>;
const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
export const postProcessors: unknown[] = [
  null,
  template,
  unigrams().post_processor,
  bytePairs().post_processor,
  { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] },
  { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true },
  { ...template, single: [text('A')] },
  { ...template, single: [text('B')] },
  { ...template, single: [text('A'), text('A')] },
  { ...template, single: [special('[NONE]'), text('A')] },
  { ...template, single: [special('[CLS]')] },
  { ...template, special_tokens: { '[CLS]': { id: '[CLS]', ids: [], tokens: ['a', 'b'] } } },
  { type: 'Sequence', processors: [template, template] },
  {
    type: 'Sequence',
    processors: [
      bytePairs().post_processor,
      { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    ],
  },
];

const pairs = bytePairs().model as Record<string, unknown>;
export const models: unknown[] = [
  wordPieces().model,
  pairs,
  unigrams().model,
  { ...pairs, continuing_subword_prefix: '##' },
  { ...pairs, end_of_word_suffix: '</w>', unk_token: '<unk>', byte_fallback: true },
  { ...pairs, merges: [['Ġ', 'nothing']] },
  { ...pairs, ignore_merges: true, dropout: 0.5 },
  { ...(unigrams().model as object), unk_id: null, byte_fallback: true },
  { type: 'WordLevel', vocab: { a: 0, the: 1 }, unk_token: '[UNK]' },
  {
    type: 'WordPiece',
    vocab: { a: 3 },
    unk_token: '',
    continuing_subword_prefix: '',
    max_input_chars_per_word: 0,
  },
];

export const bases: readonly (() => TokenizerJson)[] = [wordPieces, bytePairs, unigrams];

export const texts = [
  '',
  ' ',
  'the cat sat on the mat',
  `${'a'.repeat(60)}!`,
  `${' '.repeat(5000)}x`,
  `${'ab '.repeat(700)}\n\n\r\n`,
  'aaab bbba b a',
  '  q   ▁▁ \u00a0\u0085\u2003x ',
  'É é e\u0301 東京 ｆｕｌｌ ﷺ 🙂👩‍👩‍👧 \u0000\u0007\u200b\ufeff',
  '[CLS] [SEP][MASK]<s> </s><mask>  <unk> <pad>',
  '\ud800 x \udc00',
  "it's 12,345.67 CamelCase/snake_case\t\r\n",
];
