import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readModelFolder } from '../../lib/model-folder/model-folder.js';
import { writeModelFolder } from '../../lib/model-folder/write-model-folder.js';
import { TOKENIZER_CONFIG_KEYS } from '../../lib/tokenizer/tokenizer-files.js';
import type { GradCacheError } from '../../lib/index.js';
import { smallConfig, writeTransformers } from '../encoders/small-model.js';
import { oraclePackages, PythonServer } from './python.js';
import { bytePairs, unigrams, wordPieces, type TokenizerJson } from './small-tokenizers.js';

let python: PythonServer;
let root: string;
let folders = 0;

before(async () => {
  // Without torch in its path, which would take seconds to import and is not needed.
  const path = existsSync(oraclePackages) ? { PYTHONPATH: oraclePackages } : {};
  python = new PythonServer('test/oracle/token_ids.py', path);
  root = await mkdtemp(join(tmpdir(), 'gradcache-tokenizers-'));
});

after(async () => {
  python.close();
  await rm(root, { recursive: true, force: true });
});

const TEXTS = [
  'the cat sat on the mat',
  'The CAT  sat',
  '  the\tcat \n sat ',
  'É é e\u0301 東京 ｆｕｌｌ',
  'cat\u0000\u0007cat',
  '[CLS] the [SEP] cat[MASK]sat [UNK] [PAD]',
  '<s> the </s>cat <mask> sat<mask>on <unk> <pad>',
  '[NEW] the [new] <NEW> cat<NEW>sat <image> <|endoftext|>',
  '<s>NOTUSED </s>NOTUSED the <extra> x',
  'qqqq, zz! 12.5?',
];

interface Answer {
  readonly ids?: number[][];
  readonly class?: string;
  readonly error?: string;
  readonly arguments?: string[];
}

interface Case {
  readonly type: string;
  readonly json: TokenizerJson;
  /** tokenizer_config.json; none is written where it is undefined. */
  readonly config?: Record<string, unknown> | undefined;
  readonly files?: Record<string, unknown>;
  readonly modelConfig?: Record<string, unknown>;
}

/** The token ids of a folder, here, in Python, and in Python once the model is saved from here. */
async function compare({ type, json, config, files = {}, modelConfig = {} }: Case) {
  const folder = join(root, String(++folders));
  await writeTransformers(folder, {
    'config.json': { ...smallConfig, model_type: type, ...modelConfig },
    'tokenizer.json': json,
    'sentence_bert_config.json': { max_seq_length: 64 },
    ...(config && { 'tokenizer_config.json': config }),
    ...files,
  });
  const expected = (await python.ask({ folder, texts: TEXTS })) as Answer;
  let model: Awaited<ReturnType<typeof readModelFolder>>;
  try {
    model = await readModelFolder(folder);
  } catch (error) {
    return { expected, refused: error as GradCacheError };
  }
  const { ids, offsets } = await model.tokenizer.encode(TEXTS, { maxLength: 128 });
  const actual = TEXTS.map((_, row) => [...ids.subarray(offsets[row], offsets[row + 1])]);
  const saved = `${folder}-saved`;
  await writeModelFolder(saved, model);
  const again = (await python.ask({ folder: saved, texts: TEXTS })) as Answer;
  return { expected, actual, again };
}

async function assertSame(name: string, each: Case): Promise<void> {
  const what = `${name} ${JSON.stringify({ ...each, json: undefined })}`;
  const { expected, actual, again, refused } = await compare(each);
  assert.equal(expected.error, undefined, what);
  assert.equal(refused?.message, undefined, what);
  assert.deepEqual(actual, expected.ids, `${what}: ids of ${expected.class}`);
  assert.deepEqual(again!.ids, expected.ids, `${what}: ids after saving, ${again!.error ?? again!.class}`);
}

/** Every row with some of the columns, in turn, so that every column comes up: all pairs would take minutes. */
function pairs<A, B>(rows: readonly A[], columns: readonly B[], times: number): [A, B][] {
  return rows.flatMap((row, index) =>
    Array.from({ length: times }, (_, k): [A, B] => [row, columns[(index * times + k) % columns.length]!]),
  );
}

const BERT_TYPES = ['bert', 'distilbert', 'mpnet'];
const PLAIN = ['PreTrainedTokenizerFast', 'TokenizersBackend'];
const added = (content: string, changes: Record<string, unknown> = {}) => ({
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...changes,
});
const stated = (content: string, changes: Record<string, unknown> = {}) => ({
  __type: 'AddedToken',
  ...added(content, changes),
});

test('classes with word pieces build their normalizer and ends anew', async () => {
  const bert = { clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true };
  const jsons: Record<string, TokenizerJson> = {
    'as BERT writes it': wordPieces({ normalizer: { type: 'BertNormalizer', ...bert } }),
    cased: wordPieces(),
    'without cleaning': wordPieces({
      normalizer: { type: 'BertNormalizer', ...bert, clean_text: false, handle_chinese_chars: false },
    }),
    'without normalizer': wordPieces({ normalizer: null }),
    NFKC: wordPieces({ normalizer: { type: 'NFKC' } }),
    'split at spaces': wordPieces({ pre_tokenizer: { type: 'WhitespaceSplit' } }),
    'without ends': wordPieces({ post_processor: null }),
    'without added tokens': wordPieces({ added_tokens: [] }),
    'short words': wordPieces({
      model: { ...(wordPieces().model as object), max_input_chars_per_word: 3 },
    }),
  };
  const classes = [
    'BertTokenizer',
    'BertTokenizerFast',
    'DistilBertTokenizer',
    'ElectraTokenizerFast',
    'MPNetTokenizer',
    'MobileBertTokenizer',
  ];
  const options = [{}, { do_lower_case: false }, { tokenize_chinese_chars: false, strip_accents: false }];
  const variants: Omit<Case, 'json'>[] = [
    ...BERT_TYPES.map((type) => ({ type })),
    ...options.map((config) => ({ type: 'bert', config })),
    ...[...classes, ...PLAIN].map((name) => ({
      type: 'bert',
      config: { tokenizer_class: name, do_lower_case: false },
    })),
    { type: 'bert', modelConfig: { tokenizer_class: 'PreTrainedTokenizerFast' } },
  ];
  for (const [[name, json], variant] of pairs(Object.entries(jsons), variants, 4))
    await assertSame(name, { json, ...variant });
});

test('special tokens in a text are split where tokenizer_config.json says so', async () => {
  const cases: [TokenizerJson, string, string[]][] = [
    [wordPieces(), 'bert', ['BertTokenizer', ...PLAIN]],
    [bytePairs(), 'roberta', ['RobertaTokenizer', ...PLAIN]],
    [unigrams(), 'xlm-roberta', ['XLMRobertaTokenizer', ...PLAIN]],
  ];
  for (const [json, type, classes] of cases)
    for (const tokenizer_class of classes)
      await assertSame(type, { json, type, config: { tokenizer_class, split_special_tokens: true } });
});

test('classes with byte pairs build their pre-tokenizer and ends anew', async () => {
  const space = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true };
  const model = bytePairs().model as { merges: string[][] };
  const jsons: Record<string, TokenizerJson> = {
    'as RoBERTa writes it': bytePairs(),
    'with a space in front': bytePairs({ pre_tokenizer: space }),
    'with a normalizer': bytePairs({ normalizer: { type: 'Lowercase' } }),
    'without ends': bytePairs({ post_processor: null }),
    'with old merges': bytePairs({
      model: {
        ...model,
        merges: model.merges.map((merge) => merge.join(' ')),
        unk_token: '<unk>',
        fuse_unk: true,
      },
    }),
  };
  const classes = [
    'RobertaTokenizer',
    'RobertaTokenizerFast',
    'BartTokenizer',
    'LongformerTokenizer',
    'GPT2Tokenizer',
    'Qwen2Tokenizer',
    'LlamaTokenizer',
    'GemmaTokenizer',
  ];
  const variants: Omit<Case, 'json'>[] = [
    { type: 'roberta' },
    ...[...classes, ...PLAIN].flatMap((name) =>
      [{}, { add_prefix_space: true }, { add_prefix_space: false }].map((option) => ({
        type: 'roberta',
        config: { tokenizer_class: name, ...option },
      })),
    ),
  ];
  for (const [[name, json], variant] of pairs(Object.entries(jsons), variants, 10))
    await assertSame(name, { json, ...variant });
});

test('classes with unigrams build their normalizer, pre-tokenizer and ends anew', async () => {
  // sentencepiece's map that changes nothing: its size, a trie without branches, and no replacements.
  const charsmap = Buffer.alloc(4 + 1024);
  charsmap.writeUInt32LE(1024);
  const precompiled = { type: 'Precompiled', precompiled_charsmap: charsmap.toString('base64') };
  const jsons: Record<string, TokenizerJson> = {
    'as XLM-R writes it': unigrams(),
    NFKC: unigrams({ normalizer: { type: 'NFKC' } }),
    'precompiled and more': unigrams({
      normalizer: {
        type: 'Sequence',
        normalizers: [precompiled, { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' }],
      },
    }),
    'Metaspace alone': unigrams({
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    }),
    'another unknown token': unigrams({ model: { ...(unigrams().model as object), unk_id: 4 } }),
    'without ends': unigrams({ post_processor: null }),
  };
  const classes = ['XLMRobertaTokenizer', 'XLMRobertaTokenizerFast', 'CamembertTokenizer', ...PLAIN];
  const options = [{}, { add_prefix_space: false }, { unk_token: '<pad>', bos_token: '<mask>' }];
  const variants: Omit<Case, 'json'>[] = [
    { type: 'xlm-roberta' },
    { type: 'camembert' },
    ...classes.flatMap((name) =>
      options.map((option) => ({ type: 'xlm-roberta', config: { tokenizer_class: name, ...option } })),
    ),
  ];
  for (const [[name, json], variant] of pairs(Object.entries(jsons), variants, 6))
    await assertSame(name, { json, ...variant });
});

test("the classes of ALBERT and T5 build their normalizer anew, T5's its end too", async () => {
  const charsmap = Buffer.alloc(4 + 1024);
  charsmap.writeUInt32LE(1024);
  const normalizer = { type: 'Precompiled', precompiled_charsmap: charsmap.toString('base64') };
  const jsons = {
    usual: unigrams(),
    precompiled: unigrams({ normalizer }),
    'without ends': unigrams({ post_processor: null }),
  };
  const ends = { cls_token: '<s>', sep_token: '</s>', mask_token: '<mask>' };
  const albert = [
    ends,
    { ...ends, keep_accents: true },
    { ...ends, do_lower_case: false, add_prefix_space: false, unk_token: '<pad>', bos_token: '<s>' },
  ];
  const t5 = [{}, { extra_ids: 3, eos_token: '<mask>' }, { additional_special_tokens: ['<NEW>'] }];
  for (const [title, json] of Object.entries(jsons)) {
    for (const config of albert) await assertSame(title, { type: 'albert', json, config });
    for (const config of t5) await assertSame(title, { type: 't5', json, config });
  }
});

test("DeBERTa's class builds its normalizer and pre-tokenizer from its own options", async () => {
  const roles = {
    unk_token: '<unk>',
    pad_token: '<pad>',
    cls_token: '<s>',
    sep_token: '</s>',
    mask_token: '<mask>',
  };
  const name = 'DebertaV2Tokenizer';
  for (const [title, json] of Object.entries({
    usual: unigrams(),
    NFKC: unigrams({ normalizer: { type: 'NFKC' } }),
  })) {
    for (const option of [
      {},
      { do_lower_case: true, split_by_punct: true },
      { add_prefix_space: false },
      { split_by_punct: true, add_prefix_space: false },
    ])
      await assertSame(title, {
        ...{ type: 'deberta-v2', json, modelConfig: { relative_attention: false } },
        config: { tokenizer_class: name, bos_token: '<s>', eos_token: '</s>', ...roles, ...option },
      });
    await assertSame(title, { type: 'deberta-v2', json });
  }
});

test('tokens that only the files beside tokenizer.json name are never split', async () => {
  const configs: Record<string, Record<string, unknown>> = {
    additional: { additional_special_tokens: ['<NEW>', '[NEW]'] },
    extra: { extra_special_tokens: ['<NEW>'], additional_special_tokens: ['<image>'] },
    'extra by name': { extra_special_tokens: { image: '<image>' }, additional_special_tokens: ['<NEW>'] },
    'no additional': { additional_special_tokens: [] },
    'extra as objects': {
      extra_special_tokens: [stated('<NEW>', { lstrip: true }), stated('[NEW]', { special: false })],
    },
    'a role': { cls_token: '[NEW]', mask_token: '<NEW>' },
    'a role as object': { mask_token: stated('<NEW>', { lstrip: true, normalized: true, special: false }) },
    'a name of its own': { image_token: '<image>', video_token: stated('<NEW>'), model_max_length: 64 },
    'named tokens': { model_specific_special_tokens: { image_token: '<image>' } },
    decoder: {
      added_tokens_decoder: { 3: added('<NEW>', { normalized: true, special: false }), 1: added('<image>') },
    },
    'decoder and roles': {
      added_tokens_decoder: {
        4: added('[MASK]', { lstrip: true }),
        100: added('<mask>', { lstrip: true }),
        12: added('[new]'),
      },
      mask_token: '[MASK]',
    },
    'empty roles': { pad_token: null, mask_token: null },
  };
  const files: Record<string, Record<string, unknown>> = {
    'special_tokens_map.json': {
      'special_tokens_map.json': {
        mask_token: added('<NEW>', { lstrip: true }),
        additional_special_tokens: ['<image>'],
        video_token: '<extra>',
      },
    },
    'both old files': {
      'special_tokens_map.json': {
        extra_special_tokens: [{ content: '<image>', lstrip: true }, '[new]'],
        pad_token: '<pad>',
      },
      'added_tokens.json': { '<NEW>': 300, '<image>': 299, mat: 301 },
    },
    'added_tokens.json': { 'added_tokens.json': { '<NEW>': 7, 'the cat': 8 } },
  };
  const bases = [
    {
      type: 'bert',
      json: wordPieces(),
      classes: ['BertTokenizer', 'MPNetTokenizer', 'PreTrainedTokenizerFast'],
    },
    {
      type: 'roberta',
      json: bytePairs(),
      classes: ['RobertaTokenizer', 'GPT2Tokenizer', 'PreTrainedTokenizerFast'],
    },
    {
      type: 'xlm-roberta',
      json: unigrams(),
      classes: ['XLMRobertaTokenizer', 'CamembertTokenizer', 'PreTrainedTokenizerFast'],
    },
  ];
  const variants = [{}, ...Object.values(files)].flatMap((each) =>
    bases.flatMap(({ classes, ...base }) =>
      classes.map((tokenizerClass) => ({ ...base, tokenizerClass, files: each })),
    ),
  );
  for (const [[name, each], { tokenizerClass, ...base }] of pairs(Object.entries(configs), variants, 6))
    await assertSame(name, { ...base, config: { tokenizer_class: tokenizerClass, ...each } });
});

test('every key that transformers writes, and every argument that its classes take, has a meaning here', async () => {
  const bases: [string, TokenizerJson, string[]][] = [
    ['bert', wordPieces(), ['BertTokenizer', 'MPNetTokenizer', 'PreTrainedTokenizerFast']],
    ['roberta', bytePairs(), ['RobertaTokenizer', 'GPT2Tokenizer', 'Qwen2Tokenizer']],
    ['roberta', bytePairs(), ['LlamaTokenizer', 'GemmaTokenizer']],
    ['xlm-roberta', unigrams(), ['XLMRobertaTokenizer', 'CamembertTokenizer']],
    ['t5', unigrams(), ['T5Tokenizer']],
  ];
  // The content of tokenizer.json, which transformers gives to its classes as arguments.
  const content = ['vocab', 'merges'];
  for (const [type, json, classes] of bases) {
    for (const tokenizerClass of classes) {
      const folder = join(root, String(++folders));
      await writeTransformers(folder, {
        'config.json': { ...smallConfig, model_type: type },
        'tokenizer.json': { ...json, truncation: wordPieces().truncation, padding: wordPieces().padding },
        'tokenizer_config.json': {
          tokenizer_class: tokenizerClass,
          model_max_length: 64,
          image_token: '[NEW]',
        },
      });
      const save = `${folder}-python`;
      const answer = (await python.ask({ folder, texts: [], save })) as Answer;
      assert.equal(answer.error, undefined);
      const written = JSON.parse(await readFile(join(save, 'tokenizer_config.json'), 'utf8')) as object;
      for (const key of [...Object.keys(written), ...answer.arguments!]) {
        const known = TOKENIZER_CONFIG_KEYS.has(key) || key.endsWith('_token') || content.includes(key);
        assert.ok(known, `${key} of ${tokenizerClass}`);
      }
    }
  }
});
