import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import type { TokenBatch } from '../../lib/tokenizer/tokenizer.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { smallTokenizer, writeFiles } from '../encoders/small-model.js';

const CLS = 2;
const SEP = 3;
const make = (changes?: Record<string, unknown>, settings?: Parameters<typeof Tokenizer.fromJson>[1]) =>
  Tokenizer.fromJson(JSON.stringify(smallTokenizer(changes)), settings);
const split = ({ ids, offsets }: TokenBatch) =>
  Array.from({ length: offsets.length - 1 }, (_, i) => [...ids.subarray(offsets[i], offsets[i + 1])]);

test('ids of all texts lie end to end, without the padding and the length limit of tokenizer.json', async () => {
  const tokenizer = await make();
  const batch = await tokenizer.encode(['the cat sat', '', 'the cats sat on the mat'], { maxLength: 16 });
  assert.deepEqual([...batch.offsets], [0, 5, 7, 16]);
  assert.deepEqual(split(batch), [
    [CLS, 5, 6, 7, SEP],
    [CLS, SEP],
    [CLS, 5, 6, 10, 7, 8, 5, 9, SEP],
  ]);
  assert.equal(batch.truncated, 0);
  assert.equal(batch.ids.length, 16);
  assert.deepEqual(await tokenizer.encode([], { maxLength: 16 }), {
    ids: new Int32Array(0),
    offsets: Int32Array.of(0),
    truncated: 0,
  });
});

test('long texts lose tokens of the text, keep the special ones, and are counted', async () => {
  const texts = ['the cat sat', 'the cat sat on', 'the'];
  const right = await (await make()).encode(texts, { maxLength: 5 });
  assert.deepEqual(split(right), [
    [CLS, 5, 6, 7, SEP],
    [CLS, 5, 6, 7, SEP],
    [CLS, 5, SEP],
  ]);
  assert.equal(right.truncated, 1);
  const left = await (await make({}, { truncationSide: 'left' })).encode(texts, { maxLength: 4 });
  assert.deepEqual(split(left), [
    [CLS, 6, 7, SEP],
    [CLS, 7, 8, SEP],
    [CLS, 5, SEP],
  ]);
  assert.equal(left.truncated, 2);
  const stated = smallTokenizer().truncation as Record<string, unknown>;
  const byFile = await make({ truncation: { ...stated, direction: 'Left' } });
  assert.deepEqual(split(await byFile.encode(['the cat sat'], { maxLength: 3 })), [[CLS, 7, SEP]]);
});

test('a prefix goes in front of every text and counts', async () => {
  const batch = await (await make()).encode(['cat', 'mat'], { maxLength: 5, prefix: 'query: the ' });
  assert.deepEqual(split(batch), [
    [CLS, 12, 13, 5, SEP],
    [CLS, 12, 13, 5, SEP],
  ]);
  assert.equal(batch.truncated, 2);
});

test('calls that overlap, each with its own limit, do not disturb each other', async () => {
  const tokenizer = await make();
  const limits = [3, 6, 4, 3, 5, 16];
  const texts = Array.from({ length: 300 }, () => 'the cat sat on the mat');
  const results = await Promise.all(limits.map((maxLength) => tokenizer.encode(texts, { maxLength })));
  results.forEach((batch, i) => {
    const length = Math.min(limits[i]!, 8);
    assert.deepEqual([...new Set(split(batch).map((ids) => ids.length))], [length]);
    assert.equal(batch.truncated, length < 8 ? 300 : 0);
  });
  const failed = tokenizer.encode([3 as unknown as string], { maxLength: 8 });
  const after = tokenizer.encode(['cat'], { maxLength: 8 });
  await assert.rejects(failed, { code: 'INPUT' });
  assert.deepEqual(split(await after), [[CLS, 6, SEP]]);
});

test('the event loop turns while a large batch is worked on', async () => {
  const tokenizer = await make();
  let turns = 0;
  let running = true;
  const turn = () => {
    turns++;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  const texts = Array.from({ length: 12_800 }, (_, i) => `the cat ${i % 2 === 0 ? 'sat' : 'sat on the mat'}`);
  const batch = await tokenizer.encode(texts, { maxLength: 8 });
  running = false;
  assert.equal(batch.offsets.length, texts.length + 1);
  assert.deepEqual(split(batch).slice(-2), [
    [CLS, 5, 6, 7, SEP],
    [CLS, 5, 6, 7, 8, 5, 9, SEP],
  ]);
  assert.ok(turns >= 50, `${turns} turns for 50 pieces`);
});

test('very long texts and lone surrogates are taken as they are', async () => {
  const tokenizer = await make();
  const [long] = split(await tokenizer.encode(['cat '.repeat(200_000)], { maxLength: 1_000_000 }));
  assert.equal(long!.length, 200_002);
  const cut = await tokenizer.encode(['cat '.repeat(200_000)], { maxLength: 8 });
  assert.equal(cut.truncated, 1);
  const odd = await tokenizer.encode(['\ud800', 'cat \udc00 mat', 'cat\u0000', '\ufffd'], { maxLength: 8 });
  assert.deepEqual(split(odd), [
    [CLS, SEP],
    [CLS, 6, 9, SEP],
    [CLS, 6, SEP],
    [CLS, SEP],
  ]);
});

test('texts without tokens and values that are no texts are named by index', async () => {
  const bare = await make({ post_processor: null });
  assert.equal(bare.specialTokensPerText, 0);
  assert.deepEqual(split(await bare.encode(['cat'], { maxLength: 1 })), [[6]]);
  await assert.rejects(bare.encode([...Array.from({ length: 300 }, () => 'cat'), ' '], { maxLength: 4 }), {
    code: 'INPUT',
    message: /^Text 300 \(" "\) has no tokens/,
  });
  const tokenizer = await make();
  const bad: [unknown, RegExp][] = [
    [['cat', 3], /texts\[1\] is 3; a text is needed/],
    [['cat', 'mat', null], /texts\[2\] is null; a text/],
    [[undefined], /texts\[0\] is undefined; a text/],
    [[['cat']], /texts\[0\] is \["cat"\]; a text/],
    ['cat', /texts is "cat"; a list of texts is needed/],
  ];
  for (const [texts, message] of bad) {
    await assert.rejects(tokenizer.encode(texts as string[], { maxLength: 8 }), { code: 'INPUT', message });
  }
});

test('a limit without room for text is refused', async () => {
  const tokenizer = await make();
  for (const maxLength of [2, 0, -1, 3.5, NaN, Infinity, 2 ** 31]) {
    await assert.rejects(tokenizer.encode(['cat'], { maxLength }), {
      code: 'INPUT',
      message: /from 3 is needed \(2 special/,
    });
  }
});

test('the vocabulary counts up to the largest id, added tokens included', async () => {
  assert.equal((await make()).vocabularySize, 18);
  const added = {
    id: 30,
    content: '[NEW]',
    special: false,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: true,
  };
  const { added_tokens: before, model } = smallTokenizer() as { added_tokens: unknown[]; model: object };
  const vocab = { ...(model as { vocab: object }).vocab, free: 16 };
  const more = await make({ added_tokens: [...before, added], model: { ...model, vocab } });
  assert.equal(more.vocabularySize, 19);
  // The ids come from the tokenizers library: the next free one, whatever the file says.
  assert.deepEqual(more.addedTokens.at(-1), { id: 18, content: '[NEW]', special: false });
  assert.deepEqual(split(await more.encode(['the [NEW]'], { maxLength: 8 })), [[CLS, 5, 18, SEP]]);
  const unigram = {
    type: 'Unigram',
    unk_id: 0,
    vocab: [
      ['<unk>', 0],
      ['▁cat', -1],
      ['▁', -2],
    ],
  };
  const bare = { model: unigram, added_tokens: [], post_processor: null };
  assert.equal((await make({ ...bare, padding: null })).vocabularySize, 3);
  assert.equal((await make(bare)).vocabularySize, 4, 'the padding token of tokenizer.json is added');
  assert.equal((await make()).tokenToId('cat'), 6);
  assert.equal((await make()).tokenToId('dog'), null);
});

test('lower-casing comes before whatever normalizer there is', async () => {
  const ids = async (
    settings: Parameters<typeof Tokenizer.fromJson>[1],
    text: string,
    changes?: Record<string, unknown>,
  ) => split(await (await make(changes, settings)).encode([text], { maxLength: 8 }))[0]!.slice(1, -1);
  assert.deepEqual(await ids({}, 'The'), [11]);
  assert.deepEqual(await ids({ lowercase: true }, 'The'), [5]);
  assert.deepEqual(await ids({ lowercase: true }, 'The', { normalizer: null }), [5]);
  assert.deepEqual(
    await ids({ lowercase: true }, 'The', {
      normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }] },
    }),
    [5],
  );
  const tokenizer = await make({}, { lowercase: true });
  assert.deepEqual(JSON.parse(tokenizer.json), smallTokenizer(), 'json stays as read');
});

/** A tokenizer read from a folder with these files beside tokenizer.json. */
async function beside(
  t: TestContext,
  files: Record<string, unknown>,
  changes?: Record<string, unknown>,
): Promise<Tokenizer> {
  const folder = await temporaryFolder(t);
  await writeFiles(folder, { 'tokenizer.json': smallTokenizer(changes), ...files });
  return Tokenizer.fromFile(join(folder, 'tokenizer.json'));
}
const config = (content: Record<string, unknown>) => ({ 'tokenizer_config.json': content });

test('the class that tokenizer_config.json names builds what transformers builds', async (t) => {
  const ids = async (text: string, content: Record<string, unknown>, changes?: Record<string, unknown>) =>
    split(await (await beside(t, config(content), changes)).encode([text], { maxLength: 8 }))[0]!;
  const bert = { tokenizer_class: 'BertTokenizerFast' };
  assert.deepEqual(await ids('The É', bert), [CLS, 5, 15, SEP]);
  assert.deepEqual(await ids('The É', { ...bert, do_lower_case: false }), [CLS, 11, 14, SEP]);
  assert.deepEqual(await ids('É', { ...bert, strip_accents: false }), [CLS, 1, SEP]);
  assert.deepEqual(await ids('The', bert, { normalizer: null, post_processor: null }), [CLS, 5, SEP]);
  assert.deepEqual(await ids('The', { tokenizer_class: 'PreTrainedTokenizerFast' }), [CLS, 11, SEP]);
  const swapped = { ...bert, cls_token: '[SEP]', sep_token: '[CLS]' };
  assert.deepEqual(await ids('the', swapped), [SEP, 5, CLS]);
  const left = await beside(t, config({ truncation_side: 'left' }));
  assert.equal(left.truncationSide, 'left');
});

test('tokens that only the files beside it name are never split, and count', async (t) => {
  const files = [
    config({ additional_special_tokens: ['cat mat'] }),
    config({ extra_special_tokens: { thing: 'cat mat' } }),
    config({ pad_token: 'cat mat' }),
    config({ added_tokens_decoder: { 40: { content: 'cat mat' } } }),
    { 'special_tokens_map.json': { mask_token: { content: 'cat mat' } } },
    { 'added_tokens.json': { 'cat mat': 40 } },
  ];
  const vocab = { ...(smallTokenizer().model as { vocab: object }).vocab, free: 16 };
  const model = { ...(smallTokenizer().model as object), vocab };
  for (const each of files) {
    const tokenizer = await beside(t, each, { model });
    assert.deepEqual(
      split(await tokenizer.encode(['the cat mat'], { maxLength: 8 })),
      [[CLS, 5, 18, SEP]],
      JSON.stringify(each),
    );
    assert.equal(tokenizer.vocabularySize, 19);
    assert.equal(tokenizer.addedTokens.find(({ content }) => content === 'cat mat')?.id, 18);
  }
});

test('what the files beside it say and cannot be honoured is refused by name', async (t) => {
  const refused: [Record<string, unknown>, RegExp][] = [
    [
      config({ tokenizer_class: 'BertJapaneseTokenizer' }),
      /"BertJapaneseTokenizer".*not supported.*PreTrainedTokenizerFast/,
    ],
    [
      config({ tokenizer_class: 'XLMRobertaTokenizer' }),
      /is "WordPiece", where XLMRobertaTokenizer builds a Unigram/,
    ],
    [config({ tokenizer_class: 3 }), /tokenizer_class is 3/],
    [
      config({ tokenizer_class: 'BertTokenizer', do_lower_case: null }),
      /do_lower_case is null; true or false for BertTokenizer/,
    ],
    [
      config({ tokenizer_class: 'BertTokenizer', cls_token: null }),
      /cls_token is null; a token for BertTokenizer/,
    ],
    [config({ split_special_tokens: 'yes' }), /split_special_tokens is "yes"/],
    [
      config({ split_special_tokens: true, extra_special_tokens: ['<NEW>'] }),
      /split_special_tokens is true, .* "<NEW>" is not: set it to false/,
    ],
    [config({ truncation_side: 'middle' }), /truncation_side is "middle"/],
    [config({ padding_side: 'Left' }), /padding_side is "Left"/],
    [config({ fast_tokenizer_files: ['tokenizer.json', 'tokenizer.4.json'] }), /fast_tokenizer_files/],
    [config({ init_inputs: ['x'] }), /init_inputs/],
    [config({ processor_class: 'CLIPProcessor' }), /processor_class/],
    [config({ trust_remote_code: true }), /trust_remote_code/],
    [config({ fix_mistral_regex: true }), /fix_mistral_regex/],
    [config({ cls_token: 3 }), /cls_token is 3; a token.s text/],
    [config({ added_tokens_decoder: { x: { content: 'y' } } }), /added_tokens_decoder/],
    [config({ added_tokens_decoder: { 3: 'y' } }), /added_tokens_decoder/],
    [config({ extra_special_tokens: 'y' }), /extra_special_tokens/],
    [{ 'special_tokens_map.json': '[]' }, /special_tokens_map.json is not a JSON object/],
    [{ 'added_tokens.json': '{' }, /added_tokens.json is not JSON/],
    [{ 'added_tokens.json': { x: 'y' } }, /added_tokens.json: x/],
  ];
  const template = smallTokenizer().post_processor as object;
  const typed = { post_processor: { ...template, single: [{ Sequence: { id: 'A', type_id: 1 } }] } };
  await assert.rejects(beside(t, config({ model_input_names: ['input_ids', 'token_type_ids'] }), typed), {
    code: 'CHECKPOINT',
    message: /"type_id":1.*token_type_ids/,
  });
  await beside(t, config({ model_input_names: ['input_ids'] }), typed);
  for (const [files, message] of refused)
    await assert.rejects(beside(t, files), { code: 'CHECKPOINT', message }, JSON.stringify(files));
});

test('from a file: content byte for byte, and the files of the tokenizer beside it', async (t) => {
  const folder = await temporaryFolder(t);
  const json = JSON.stringify(smallTokenizer(), null, 3);
  await writeFiles(folder, {
    'tokenizer.json': json,
    'vocab.txt': 'a\n',
    'tokenizer_config.json': '{}',
    'sp.model': 'x',
    'notes.txt': 'no',
  });
  const tokenizer = await Tokenizer.fromFile(join(folder, 'tokenizer.json'));
  assert.equal(tokenizer.json, json);
  assert.deepEqual([...tokenizer.companions.keys()].sort(), [
    'sp.model',
    'tokenizer_config.json',
    'vocab.txt',
  ]);
  assert.deepEqual(Buffer.from(tokenizer.companions.get('vocab.txt')!).toString(), 'a\n');
});

test('what is no tokenizer is a CHECKPOINT error that names the file', async (t) => {
  const path = join(await temporaryFolder(t), 'tokenizer.json');
  await assert.rejects(Tokenizer.fromFile(path), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'CHECKPOINT');
    assert.ok(
      error.message.startsWith(`${path} is missing. A tokenizer.json as AutoTokenizer`),
      error.message,
    );
    return true;
  });
  await assert.rejects(Tokenizer.fromFile(dirname(path)), /cannot be read: .* It is a folder where a file/);
  const contents = [
    '',
    '{',
    '[]',
    'null',
    '{}',
    '{"version":"1.0","model":{"type":"Nope"}}',
    JSON.stringify(smallTokenizer({ model: { type: 'WordPiece', vocab: 3 } })),
  ];
  for (const content of [...contents, Buffer.of(0x7b, 0xff, 0x7d)]) {
    await writeFile(path, content);
    await assert.rejects(Tokenizer.fromFile(path), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CHECKPOINT', String(error));
      assert.ok(error.message.startsWith(path), error.message);
      return true;
    });
  }
});

test('a length limit of any kind but a whole number is refused, also one that no text can be made of', async () => {
  const tokenizer = await make();
  const silent: unknown = Object.create(null);
  for (const maxLength of [undefined, null, '8', 1.5, -1, NaN, 2 ** 31, 8n, Symbol('8'), {}, silent])
    await assert.rejects(tokenizer.encode(['cat'], { maxLength: maxLength as number }), {
      code: 'INPUT',
      message: /maxLength is/,
    });
});
