import { smallTokenizer } from '../encoders/small-model.js';

/** Content of a tokenizer.json. */
export type TokenizerJson = Record<string, unknown>;

const LETTERS = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'];
const WORDS = ['the', 'cat', 'sat', 'on', 'mat', 'The', 'CAT'];

const listed = (id: number, content: string, changes: Record<string, unknown> = {}) => ({
  id,
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  ...changes,
});

/** BERT's way, with every letter, and the tokens of RoBERTa's way beside its own. */
export function wordPieces(changes: TokenizerJson = {}): TokenizerJson {
  const pieces = [
    ...[
      '[PAD]',
      '[UNK]',
      '[CLS]',
      '[SEP]',
      '[MASK]',
      '<s>',
      '<pad>',
      '</s>',
      '<mask>',
      'É',
      'é',
      '東',
      '[NEW]',
    ],
    ...LETTERS,
    ...LETTERS.map((letter) => `##${letter}`),
    ...WORDS,
    '##é',
    '##京',
    '京',
  ];
  const base = smallTokenizer();
  return {
    ...base,
    model: { ...(base.model as object), vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])) },
    ...changes,
  };
}

/** RoBERTa's way: bytes and their merges, `<s>` text `</s>`. */
export function bytePairs(changes: TokenizerJson = {}): TokenizerJson {
  const alphabet = new Set(LETTERS.concat([...'ĠĊĉÃ©<>/[]_|']));
  for (let byte = 0xa1; byte < 0x100; byte++) alphabet.add(String.fromCharCode(byte));
  const merges: string[][] = [];
  for (const word of ['Ġthe', 'Ġcat', 'sat', 'Ġon', 'mat']) {
    for (let end = 1; end < word.length; end++) {
      const merge = [word.slice(0, end), word[end]!];
      if (!merges.some((other) => other.join('\0') === merge.join('\0'))) merges.push(merge);
    }
  }
  const pieces = [
    '<s>',
    '<pad>',
    '</s>',
    '<unk>',
    ...alphabet,
    ...merges.map((merge) => merge.join('')),
    '<mask>',
  ];
  const vocab = Object.fromEntries([...new Set(pieces)].map((piece, id) => [piece, id]));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      ...['<s>', '<pad>', '</s>', '<unk>'].map((piece) => listed(vocab[piece]!, piece)),
      listed(vocab['<mask>']!, '<mask>', { lstrip: true }),
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: 'RobertaProcessing',
      sep: ['</s>', 2],
      cls: ['<s>', 0],
      trim_offsets: true,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
    ...changes,
  };
}

/** XLM-RoBERTa's way: pieces with a score, `<s>` text `</s>`. */
export function unigrams(changes: TokenizerJson = {}): TokenizerJson {
  const vocab: [string, number][] = [
    ['<s>', 0],
    ['<pad>', 0],
    ['</s>', 0],
    ['<unk>', 0],
    ['▁', -2.5],
    ['▁▁', -2.7],
    ['t▁', -2.8],
    ...LETTERS.map((letter, index): [string, number] => [letter, -7 - index / 100]),
    ...WORDS.map((word, index): [string, number] => [`▁${word}`, -3 - index / 100]),
    ...WORDS.map((word, index): [string, number] => [word, -5 - index / 100]),
    ['<mask>', 0],
  ];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      ...[0, 1, 2, 3].map((id) => listed(id, vocab[id]![0])),
      listed(vocab.length - 1, '<mask>', { lstrip: true }),
    ],
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'WhitespaceSplit' },
        { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '<s>', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '</s>', type_id: 0 } },
      ],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
      special_tokens: {
        '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] },
        '</s>': { id: '</s>', ids: [2], tokens: ['</s>'] },
      },
    },
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    model: { type: 'Unigram', unk_id: 3, vocab, byte_fallback: false },
    ...changes,
  };
}
