import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  Bytes,
  Characters,
  decodeBehind,
  readVocabulary,
  Subwords,
  type Vocabulary,
} from '../../lib/language/vocabulary.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { root, temporaryFolder } from '../training/support.js';

const TEXT = Buffer.from('Grüße,\nworld 🌍!\n');

const subwords = async (): Promise<Vocabulary> =>
  Subwords.of(await Tokenizer.fromFile(join(root, 'examples', 'quickstart', 'tokenizer.json')));

test('text becomes tokens and text again, also with a vocabulary that was saved', async (t) => {
  const made: [Vocabulary, number][] = [
    [new Bytes(), TEXT.length],
    [Characters.of([TEXT]), 16],
  ];
  for (const [vocabulary, length] of made) {
    const tokens = await vocabulary.encode(TEXT);
    assert.equal(tokens.length, length);
    assert.ok(tokens.every((token) => token >= 0 && token < vocabulary.size));
    const folder = await temporaryFolder(t);
    await vocabulary.save(folder);
    const read = await readVocabulary(folder);
    assert.equal(read.size, vocabulary.size);
    assert.deepEqual(await read.encode(TEXT), tokens);
    assert.deepEqual(Buffer.from(await read.decode(tokens)), TEXT);
  }
});

test('tokens of a tokenizer are without those around a text, however long it is', async (t) => {
  const vocabulary = await subwords();
  const line = 'the quiet river\n';
  const once = await vocabulary.encode(Buffer.from(line));
  const many = await vocabulary.encode(Buffer.from(line.repeat(3000)));
  assert.equal(many.length, 3000 * once.length);
  assert.deepEqual(many.slice(-once.length), once);
  assert.match(Buffer.from(await vocabulary.decode(once)).toString(), /the quiet river/);
  const folder = await temporaryFolder(t);
  await vocabulary.save(folder);
  assert.deepEqual(await (await readVocabulary(folder)).encode(Buffer.from(line)), once);
  await assert.rejects(vocabulary.decode(Int32Array.of(vocabulary.size)), { code: 'INPUT' });
});

test('tokens that go on with a text have the space of a new word', async () => {
  const vocabulary = await subwords();
  const [text, more] = [
    await vocabulary.encode(Buffer.from('the quiet')),
    await vocabulary.encode(Buffer.from('river')),
  ];
  assert.equal(Buffer.from(await decodeBehind(vocabulary, text, more)).toString(), ' river');
  const bytes = [...Buffer.from('é')].map((byte) => Int32Array.of(byte));
  assert.deepEqual([...(await decodeBehind(new Bytes(), bytes[0]!, bytes[1]!))], [...bytes[1]!]);
});

test('a long text without spaces is cut between characters, wherever it begins', async () => {
  const path = join(root, 'examples', 'quickstart', 'tokenizer.json');
  const content = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  const vocab = { '[UNK]': 0, a: 1, '🌍': 2 };
  const splitting = {
    ...content,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'Split', pattern: { Regex: '' }, behavior: 'Isolated', invert: false },
    post_processor: null,
    decoder: null,
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '',
      max_input_chars_per_word: 100,
      vocab,
    },
  };
  const vocabulary = await Subwords.of(await Tokenizer.fromJson(JSON.stringify(splitting)));
  for (const before of ['', 'a']) {
    const tokens = await vocabulary.encode(Buffer.from(before + '🌍'.repeat(20_000)));
    assert.equal(tokens.length, before.length + 20_000);
    assert.ok(tokens.subarray(before.length).every((token) => token === 2));
  }
});

test('what a vocabulary does not have is refused', async () => {
  const letters = Characters.of([Buffer.from('abc')]);
  await assert.rejects(async () => letters.encode(Buffer.from('abcd')), {
    code: 'INPUT',
    message: /character "d"/,
  });
  await assert.rejects(async () => letters.encode(Buffer.from([0xff])), {
    code: 'INPUT',
    message: /not UTF-8/,
  });
  assert.equal((await new Bytes().encode(Buffer.from([0xff])))[0], 255);
});

test('a folder without a vocabulary, or with a damaged one, is told', async (t) => {
  const folder = await temporaryFolder(t);
  await assert.rejects(readVocabulary(folder), { code: 'CHECKPOINT', message: /vocabulary\.json/ });
  for (const content of [
    '',
    '[]',
    '{}',
    '{"kind":"words"}',
    '{"kind":"characters"}',
    '{"kind":"characters","characters":"aa"}',
  ]) {
    await writeFile(join(folder, 'vocabulary.json'), content);
    await assert.rejects(readVocabulary(folder), { code: 'CHECKPOINT' }, content);
  }
});
