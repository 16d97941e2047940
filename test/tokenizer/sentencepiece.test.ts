import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Tokenizer, type GradCacheError } from '../../lib/index.js';
import { float32, integer, message, text } from '../../lib/onnx/wire.js';
import { mergesOf } from '../../lib/tokenizer/sentencepiece-merges.js';
import { readSentencePiece } from '../../lib/tokenizer/sentencepiece-model.js';

const WORDS = ['<pad>', '</s>', '<unk>', '▁cat', '▁sat', '▁', 'c', 'a', 't', 's'];

const piece = (word: string, score: number, type = 1): Uint8Array =>
  message(1, text(1, word), float32(2, score), integer(3, type));
const pieces = WORDS.map((word, id) => piece(word, -id, id < 2 ? 3 : id === 2 ? 2 : 1));
const settings = (...fields: Uint8Array[]): Uint8Array => message(2, ...fields);
const usual = Buffer.concat([...pieces, settings(integer(3, 1), integer(40, 2))]);

async function inFolder<T>(
  files: Readonly<Record<string, Uint8Array | string>>,
  run: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcache-sentencepiece-'));
  try {
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
    return await run(join(folder, 'tokenizer.json'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test('a folder with spiece.model alone is read, and the tokenizer.json made of it reads the same', async () => {
  await inFolder({ 'spiece.model': usual }, async (path) => {
    const tokenizer = await Tokenizer.fromFile(path, { tokenizerClass: 'T5Tokenizer' });
    const { ids } = await tokenizer.encode(['cat sat'], { maxLength: 9 });
    assert.deepEqual([...ids], [3, 4, 1]);
    assert.equal(tokenizer.vocabularySize, WORDS.length + 100);
    const again = await tokenizer.withFiles(tokenizer.json, tokenizer.companions);
    assert.deepEqual([...(await again.encode(['cat sat'], { maxLength: 9 })).ids], [3, 4, 1]);
    assert.equal(again.tokenizerClass, 'T5Tokenizer');
    assert.deepEqual(Buffer.from(tokenizer.companions.get('spiece.model')!), usual);
  });
});

test('tokenizer.json goes before a model of sentencepiece', async () => {
  const json = await inFolder({ 'spiece.model': usual }, async (path) => {
    return (await Tokenizer.fromFile(path, { tokenizerClass: 'T5Tokenizer' })).json;
  });
  await inFolder({ 'spiece.model': 'no model', 'tokenizer.json': json }, async (path) => {
    assert.equal((await Tokenizer.fromFile(path)).json, json);
  });
});

test('what is no model of sentencepiece, or a damaged one, is refused with the reason', () => {
  const cases: [Uint8Array, RegExp][] = [
    [Buffer.alloc(0), /it has no pieces/],
    [Buffer.from('{"model": 1}'), /spiece\.model: it is no model of sentencepiece: /],
    [usual.subarray(0, 30), /cut off inside a field/],
    [Buffer.concat([usual, pieces[3]!]), /the pieces 3 and 10 are both "▁cat"/],
    [Buffer.concat([usual, message(1, float32(2, 1))]), /piece 10 is empty/],
    [Buffer.concat([usual, piece('x', NaN)]), /the score of piece 10 is NaN/],
    [Buffer.concat([usual, message(1, message(1, Uint8Array.of(0xff)))]), /piece 10 is not UTF-8/],
    [Buffer.concat([usual, piece('x'.repeat(2000), 1)]), /piece 10 has 2000 characters; at most 1024/],
    [Buffer.concat([usual, message(1, integer(1, 1))]), /piece 10 is no text/],
    [Buffer.concat([...pieces, settings(integer(3, 3))]), /model_type is 3; 1 \(unigram\) or 2/],
    [Buffer.concat([usual, Uint8Array.of(0x0b)]), /has the type 3/],
    [Buffer.concat([usual, Uint8Array.of(0)]), /the number 0/],
    [Buffer.concat([usual, new Uint8Array(11).fill(0xff)]), /more than ten bytes/],
    [Buffer.concat([usual, Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f)]), /cut off inside a field/],
  ];
  for (const [bytes, reason] of cases)
    assert.throws(() => readSentencePiece('spiece.model', bytes), { code: 'CHECKPOINT', message: reason });
});

test('a folder that no class reads is refused with the command that mends it', async () => {
  const refusals: [Record<string, Uint8Array | string>, string, RegExp][] = [
    [{ 'spiece.model': usual }, 'BertTokenizer', /BertTokenizer is not read .*AlbertTokenizer, T5Tokenizer/],
    [{ 'spm.model': usual }, 'T5TokenizerFast', /T5TokenizerFast reads spiece\.model, which is not there/],
    [
      { 'tokenizer.model': usual },
      'LlamaTokenizer',
      /it is a Unigram model, where LlamaTokenizer reads a BPE/,
    ],
  ];
  for (const [files, tokenizerClass, reason] of refusals)
    await inFolder(files, async (path) => {
      await assert.rejects(Tokenizer.fromFile(path, { tokenizerClass }), (error: GradCacheError) => {
        assert.equal(error.code, 'CHECKPOINT');
        assert.match(error.message, reason);
        assert.match(
          error.message,
          /python3 -c ".*save_pretrained\('\.'\)" in the folder writes tokenizer\.json/,
        );
        return true;
      });
    });
  await inFolder({}, (path) => assert.rejects(Tokenizer.fromFile(path), /tokenizer\.json is missing/));
  await inFolder({ 'spiece.model': usual, 'tokenizer_config.json': '{"extra_ids": -1}' }, (path) =>
    assert.rejects(
      Tokenizer.fromFile(path, { tokenizerClass: 'T5Tokenizer' }),
      /extra_ids is -1; a whole number/,
    ),
  );
});

test('damage anywhere ends in an error with a code, or in a tokenizer', async () => {
  let refused = 0;
  for (let place = 0; place < usual.length; place += 3) {
    const bytes = Buffer.from(usual);
    bytes[place]! ^= 1 << (place % 8);
    await inFolder({ 'spiece.model': bytes }, async (path) => {
      try {
        await (
          await Tokenizer.fromFile(path, { tokenizerClass: 'T5Tokenizer' })
        ).encode(['cat'], { maxLength: 9 });
      } catch (error) {
        assert.equal((error as GradCacheError).code, 'CHECKPOINT', (error as Error).stack);
        refused++;
      }
    });
  }
  assert.ok(refused > 0);
});

test('merges are all ways to make a token of two, in the order of ids and then of the first half', () => {
  const words = ['a', 'b', 'ab', 'aba', 'ba', '😀', '😀a'];
  const ids = new Map(words.map((word, id) => [word, id]));
  assert.deepEqual(mergesOf(ids), [
    ['a', 'b'],
    ['a', 'ba'],
    ['ab', 'a'],
    ['b', 'a'],
    ['😀', 'a'],
  ]);
  const nested = new Map(Array.from({ length: 1024 }, (_, id) => ['a'.repeat(id + 1), id]));
  assert.throws(() => mergesOf(nested), /its 1024 tokens are too long .* add up to 358438400/);
});
