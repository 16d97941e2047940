import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeSafetensors } from '../../lib/safetensors/safetensors.js';
import type { StoredTensor } from '../../lib/safetensors/safetensors.js';

const WORDS = [
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  'the',
  'cat',
  'sat',
  'on',
  'mat',
  '##s',
  'The',
  'query',
  ':',
  'É',
  'e',
];

/** Content of a tokenizer.json with a few words, in which one id is left free before the last. */
export function smallTokenizer(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const vocab = Object.fromEntries([
    ...WORDS.map((word, id) => [word, id] as const),
    ['last', WORDS.length + 1] as const,
  ]);
  return {
    version: '1.0',
    truncation: { max_length: 4, strategy: 'LongestFirst', stride: 0, direction: 'Right' },
    padding: {
      strategy: { Fixed: 12 },
      direction: 'Right',
      pad_to_multiple_of: null,
      pad_id: 0,
      pad_type_id: 0,
      pad_token: '[PAD]',
    },
    added_tokens: [0, 1, 2, 3, 4].map((id) => ({
      id,
      content: WORDS[id],
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: false,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '[CLS]', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '[SEP]', type_id: 0 } },
      ],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: {
        '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
        '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
      },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
    ...changes,
  };
}

/** A float32 tensor whose values tell it from others. */
export function floats(shape: readonly number[], start = 0): StoredTensor {
  const count = shape.reduce((product, dimension) => product * dimension, 1);
  return {
    dtype: 'float32',
    shape,
    bytes: new Uint8Array(Float32Array.from({ length: count }, (_, i) => start + i).buffer),
  };
}

export const smallTensors: ReadonlyMap<string, StoredTensor> = new Map([
  ['embeddings.word_embeddings.weight', floats([18, 4])],
  ['encoder.layer.0.weight', floats([4, 4], 100)],
  ['encoder.layer.0.bias', floats([4], 200)],
]);

export const smallConfig = {
  model_type: 'bert',
  hidden_size: 4,
  max_position_embeddings: 16,
  vocab_size: 18,
  layer_norm_eps: 1e-12,
};

/** Writes JSON files, and any other content as it is, under a folder. */
export async function writeFiles(folder: string, files: Readonly<Record<string, unknown>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
}

/** A folder as transformers writes it. */
export async function writeTransformers(
  folder: string,
  files: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await writeFiles(folder, { 'config.json': smallConfig, 'tokenizer.json': smallTokenizer(), ...files });
  await writeSafetensors(join(folder, 'model.safetensors'), smallTensors, { format: 'pt' });
}

export const modules = (...kinds: string[]) =>
  ['Transformer', ...kinds].map((kind, idx) => ({
    idx,
    name: String(idx),
    path: idx === 0 ? '' : `${idx}_${kind}`,
    type: `sentence_transformers.models.${kind}`,
  }));

/** A folder as sentence-transformers before release 5 writes it, with a dense layer. */
export async function writeSentenceTransformers(
  folder: string,
  files: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await writeTransformers(folder, {
    'modules.json': modules('Pooling', 'Dense', 'Normalize'),
    '1_Pooling/config.json': {
      word_embedding_dimension: 4,
      pooling_mode_cls_token: true,
      pooling_mode_mean_tokens: false,
    },
    '2_Dense/config.json': {
      in_features: 4,
      out_features: 2,
      bias: true,
      activation_function: 'torch.nn.modules.activation.Tanh',
    },
    'sentence_bert_config.json': { max_seq_length: 9, do_lower_case: true },
    'config_sentence_transformers.json': {
      prompts: { query: 'query: ', passage: '' },
      default_prompt_name: 'query',
      similarity_fn_name: 'dot',
    },
    'tokenizer_config.json': { tokenizer_class: 'BertTokenizer', do_lower_case: false, model_max_length: 12 },
    'vocab.txt': 'one\ntwo\n',
    ...files,
  });
  await mkdir(join(folder, '2_Dense'), { recursive: true });
  const dense = new Map([
    ['linear.weight', floats([2, 4], 300)],
    ['linear.bias', floats([2], 400)],
  ]);
  await writeSafetensors(join(folder, '2_Dense', 'model.safetensors'), dense);
}
