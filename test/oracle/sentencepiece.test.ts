import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readModelFolder } from '../../lib/model-folder/model-folder.js';
import { writeModelFolder } from '../../lib/model-folder/write-model-folder.js';
import { smallConfig, writeTransformers } from '../encoders/small-model.js';
import { oraclePackages, PythonServer } from './python.js';

/*
 * Folders with a model of sentencepiece and no tokenizer.json: token ids are those of transformers, when the folder is read and when
 * what was read is saved and read by transformers again.
 */

let python: PythonServer;
let root: string;
const models = new Map<string, Promise<Buffer>>();
let folders = 0;

before(async () => {
  python = new PythonServer(
    'test/oracle/token_ids.py',
    existsSync(oraclePackages) ? { PYTHONPATH: oraclePackages } : {},
  );
  root = await mkdtemp(join(tmpdir(), 'gradcache-sentencepiece-'));
});

after(async () => {
  python.close();
  await rm(root, { recursive: true, force: true });
});

const LINES = [
  'the cat sat on the mat and the dog sat by the door',
  'The quick brown fox jumps over the lazy dog, again and again!',
  'numbers 1,2 and 12.5, dates 2024-01-31, prices 3,50 and 1,000',
  'Straße, naïve, café, Ελληνικά, привет, 東京 に 行く, 한국어',
  'a cat, a dog, a fox; a mat? a door: a hat (a coat)',
  "it's the cat's mat, isn't it? ``quoted'' \"text\" here",
];

const TEXTS = [
  '',
  'the cat sat on the mat',
  '  The\tCAT \n  sat   ',
  'É é e\u0301 ﬁne ｆｕｌｌ ① ½ ™ İstanbul ŒUVRE',
  '東京に行く 한국어 привет Ελληνικά',
  "``it's'' 'quoted' \u201cq\u201d -- \u2026",
  'cat\u0000\u0007cat\u200bcat\u00a0cat\u3000cat\u2581cat ▁cat',
  '1,000 1, 2,5 12.50, 3,',
  'emoji 😀👩‍👩‍👧 and \u{1f1e9}\u{1f1ea} and \ufffd',
  '<s> the </s>cat <mask> sat<mask>on <unk> <pad> [CLS] a [SEP]b [MASK] c[MASK]',
  '<extra_id_0> the <extra_id_99>cat <word>the<word> <start>a <bos>b<eos> <0x41>',
  '<s>NOTUSED </s>NOTUSED <unk>NOTUSED',
  'thethethe cccaaattt zzzz',
];

interface Case {
  readonly type: string;
  /** The name of the model's file. */
  readonly file: string;
  /** How sentencepiece trains it. */
  readonly settings: Record<string, unknown>;
  readonly config?: Record<string, unknown>;
  readonly files?: Record<string, unknown>;
}

function trained(settings: Record<string, unknown>): Promise<Buffer> {
  const key = JSON.stringify(settings);
  const known = models.get(key);
  if (known) return known;
  const made = (async () => {
    const path = join(root, `${models.size}.model`);
    const answer = (await python.ask({ train: path, lines: LINES, settings })) as { error?: string };
    assert.equal(answer.error, undefined);
    return readFile(path);
  })();
  models.set(key, made);
  return made;
}

async function folderOf({ type, file, settings, config, files = {} }: Case): Promise<string> {
  const model = await trained(settings);
  const folder = join(root, `folder-${++folders}`);
  await writeTransformers(folder, {
    'config.json': { ...smallConfig, model_type: type },
    'sentence_bert_config.json': { max_seq_length: 64 },
    ...(config && { 'tokenizer_config.json': config }),
    ...files,
  });
  await rm(join(folder, 'tokenizer.json'), { force: true });
  await writeFile(join(folder, file), model);
  return folder;
}

interface Answer {
  readonly ids?: number[][];
  readonly class?: string;
  readonly error?: string;
}

async function assertSame(name: string, each: Case): Promise<void> {
  const what = `${name} ${JSON.stringify(each)}`;
  const folder = await folderOf(each);
  // Here, a text without any token is refused.
  const expected = (await python.ask({ folder, texts: TEXTS })) as Answer;
  assert.equal(expected.error, undefined, what);
  const kept = TEXTS.filter((_, row) => expected.ids![row]!.length > 0);
  const ids = expected.ids!.filter((row) => row.length > 0);
  const model = await readModelFolder(folder);
  assert.deepEqual(await idsOf(model.tokenizer, kept), ids, `${what}: ids of ${expected.class}`);
  const saved = `${folder}-saved`;
  await writeModelFolder(saved, model);
  const again = (await python.ask({ folder: saved, texts: kept })) as Answer;
  assert.deepEqual(again.ids, ids, `${what}: ids after saving, ${again.error ?? again.class}`);
  const reread = await readModelFolder(saved);
  assert.deepEqual(await idsOf(reread.tokenizer, kept), ids, `${what}: ids read again`);
}

async function idsOf(tokenizer: Awaited<ReturnType<typeof readModelFolder>>['tokenizer'], texts: string[]) {
  const { ids, offsets } = await tokenizer.encode(texts, { maxLength: 256 });
  return texts.map((_, row) => [...ids.subarray(offsets[row], offsets[row + 1])]);
}

const unigram = { model_type: 'unigram', vocab_size: 220, normalization_rule_name: 'nmt_nfkc' };
const ALBERT = {
  ...{ ...unigram, normalization_rule_name: 'nmt_nfkc_cf', pad_id: 0, unk_id: 1, bos_id: -1, eos_id: -1 },
  control_symbols: ['[CLS]', '[SEP]', '[MASK]'],
};
const T5 = { ...unigram, pad_id: 0, eos_id: 1, unk_id: 2, bos_id: -1, user_defined_symbols: ['<word>'] };
const DEBERTA = {
  ...{ ...unigram, pad_id: 0, bos_id: 1, eos_id: 2, unk_id: 3 },
  ...{ pad_piece: '[PAD]', bos_piece: '[CLS]', eos_piece: '[SEP]', unk_piece: '[UNK]' },
};
const bytes = {
  model_type: 'bpe',
  vocab_size: 480,
  byte_fallback: true,
  normalization_rule_name: 'identity',
};
const LLAMA = { ...bytes, user_defined_symbols: ['<word>', '    '] };
const GEMMA = {
  ...{ ...bytes, pad_id: 0, eos_id: 1, bos_id: 2, unk_id: 3, eos_piece: '<eos>', bos_piece: '<bos>' },
  ...{ control_symbols: ['<start>'], user_defined_symbols: ['<mask>', '\n\n', '▁▁'] },
};
const token = (content: string, changes: Record<string, unknown> = {}) => ({
  ...{ content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  ...changes,
});

test('AlbertTokenizer', async () => {
  const base = { type: 'albert', file: 'spiece.model', settings: ALBERT };
  await assertSame('no other file', base);
  await assertSame('cased', { ...base, config: { do_lower_case: false, keep_accents: true } });
  await assertSame('without map', {
    ...base,
    settings: { ...ALBERT, normalization_rule_name: 'identity', user_defined_symbols: ['<word>'] },
  });
  await assertSame('no space, old files', {
    ...base,
    config: { add_prefix_space: false, tokenizer_class: 'AlbertTokenizerFast', mask_token: '[MASK]' },
    files: {
      'special_tokens_map.json': { mask_token: token('[MASK]', { lstrip: true }), cls_token: '[CLS]' },
      'added_tokens.json': { '<new>': 220, '<extra_id_0>': 221 },
    },
  });
  await assertSame('asked ends', { ...base, config: { add_bos_token: true } });
});

test('T5Tokenizer', async () => {
  const base = { type: 't5', file: 'spiece.model', settings: T5 };
  const sentinels = Array.from({ length: 100 }, (_, k) => `<extra_id_${k}>`);
  await assertSame('no other file', base);
  await assertSame('as T5 is published', {
    ...base,
    config: {
      ...{ eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>', extra_ids: 100, model_max_length: 512 },
      additional_special_tokens: sentinels,
    },
    files: {
      'special_tokens_map.json': {
        ...{ eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' },
        additional_special_tokens: sentinels,
      },
    },
  });
  await assertSame('fewer sentinels', { ...base, config: { extra_ids: 7, eos_token: '<word>' } });
});

test('XLMRobertaTokenizer and CamembertTokenizer', async () => {
  for (const [type, settings] of [
    ['xlm-roberta', unigram],
    ['camembert', { ...unigram, control_symbols: ['<mask>'] }],
  ] as const) {
    const base = { type, file: 'sentencepiece.bpe.model', settings };
    await assertSame('no other file', base);
    await assertSame('other tokens', {
      ...base,
      config: {
        mask_token: { ...token('<mask>', { lstrip: true }), __type: 'AddedToken' },
        unk_token: '<u>',
      },
    });
    await assertSame('old files', {
      ...base,
      files: {
        'special_tokens_map.json': {
          mask_token: token('<mask>', { lstrip: true }),
          additional_special_tokens: ['<extra_id_0>'],
        },
        'added_tokens.json': { '<word>': 400 },
      },
    });
    await assertSame('decoder', {
      ...base,
      config: {
        added_tokens_decoder: { 0: token('<s>'), 300: token('<word>', { special: false }) },
        add_prefix_space: false,
      },
    });
    await assertSame('extra', { ...base, config: { extra_special_tokens: ['<word>'] } });
  }
});

test('DebertaV2Tokenizer', async () => {
  const base = { type: 'deberta-v2', file: 'spm.model', settings: DEBERTA };
  await assertSame('no other file', base);
  await assertSame('as DeBERTa is published', {
    ...base,
    config: { do_lower_case: true, split_by_punct: true, vocab_type: undefined },
    files: { 'added_tokens.json': { '[MASK]': 220 } },
  });
});

test('LlamaTokenizer and GemmaTokenizer', async () => {
  const classes: [string, Record<string, unknown>, Record<string, unknown>[]][] = [
    [
      'LlamaTokenizer',
      LLAMA,
      [
        {},
        { add_bos_token: true, add_eos_token: true, legacy: true },
        { add_bos_token: true, add_prefix_space: false },
      ],
    ],
    ['GemmaTokenizer', GEMMA, [{}, { add_bos_token: true, add_eos_token: false, unk_token: '<bos>' }]],
  ];
  for (const [tokenizer_class, settings, configs] of classes)
    for (const config of configs)
      await assertSame(tokenizer_class, {
        ...{ type: 'roberta', file: 'tokenizer.model', settings },
        config: { tokenizer_class, ...config },
      });
});
