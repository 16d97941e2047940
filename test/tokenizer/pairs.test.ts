import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tokenizer, type TextPair, type TokenBatch } from '../../lib/tokenizer/tokenizer.js';
import { smallTokenizer } from '../encoders/small-model.js';

const CLS = 2;
const SEP = 3;
const CAT = 6;
const MAT = 9;
const make = (settings: Parameters<typeof Tokenizer.fromJson>[1], changes?: Record<string, unknown>) =>
  Tokenizer.fromJson(JSON.stringify(smallTokenizer(changes)), settings);
const cut = (list: Int32Array, { offsets }: TokenBatch) =>
  Array.from({ length: offsets.length - 1 }, (_, k) => [...list.subarray(offsets[k], offsets[k + 1])]);
const words = (first: number, second: number): TextPair => ['cat '.repeat(first), 'mat '.repeat(second)];

test('two texts get special tokens around and between them, and types as their class has them', async () => {
  const bert = await make({ tokenizerClass: 'BertTokenizer' });
  const batch = await bert.encodePairs([words(2, 1), words(0, 1)], { maxLength: 9 });
  assert.deepEqual(cut(batch.ids, batch), [
    [CLS, CAT, CAT, SEP, MAT, SEP],
    [CLS, SEP, MAT, SEP],
  ]);
  assert.deepEqual(cut(batch.types!, batch), [
    [0, 0, 0, 0, 1, 1],
    [0, 0, 1, 1],
  ]);
  assert.equal(batch.truncated, 0);
  const untyped = await (
    await make({ tokenizerClass: 'DistilBertTokenizer' })
  ).encodePairs([words(1, 1)], {
    maxLength: 9,
  });
  assert.equal(untyped.types, undefined);
  // tokenizer.json as it stands: this one puts nothing between.
  const plain = await (await make({})).encodePairs([words(1, 2)], { maxLength: 9 });
  assert.deepEqual([...plain.ids], [CAT, MAT, MAT]);
});

/** How many tokens of each text are left of a pair, with room for so many beside the special ones. */
const CUTS: [lengths: [number, number], room: number, left: [number, number]][] = [
  [[4, 3], 7, [4, 3]],
  [[9, 2], 7, [5, 2]],
  [[2, 9], 7, [2, 5]],
  [[5, 4], 7, [4, 3]],
  [[4, 5], 7, [3, 4]],
  [[4, 4], 7, [3, 4]],
  // Here both are longer than the limit, which releases of the tokenizers package do not agree about.
  [[40, 30], 7, [4, 3]],
  [[30, 40], 7, [3, 4]],
  [[40, 40], 7, [3, 4]],
  [[40, 30], 6, [3, 3]],
  [[1, 40], 2, [1, 1]],
  [[0, 40], 2, [0, 2]],
];

for (const side of ['right', 'left'] as const) {
  test(`a pair that is too long loses tokens of its longer text first, from the ${side}`, async () => {
    const tokenizer = await make({ tokenizerClass: 'BertTokenizer', truncationSide: side });
    for (const [[first, second], room, [left, right]] of CUTS) {
      const pair: TextPair = [`on ${'cat '.repeat(Math.max(0, first - 1))}`, words(0, second)[1]];
      const batch = await tokenizer.encodePairs([first === 0 ? words(0, second) : pair], {
        maxLength: room + 3,
      });
      const [ids, types] = [cut(batch.ids, batch)[0]!, cut(batch.types!, batch)[0]!];
      const what = `${first} and ${second} in ${room}`;
      assert.equal(ids.indexOf(SEP) - 1, left, what);
      assert.equal(ids.length - 3 - left, right, what);
      assert.equal(types.filter((type) => type === 1).length, right + 1, what);
      assert.equal(batch.truncated, first + second > room ? 1 : 0, what);
      // The side decides whether the first token stays.
      if (left > 0 && left < first) assert.equal(ids[1] === 8, side === 'right', what);
    }
  });
}

test('calls for texts and for pairs that overlap do not disturb each other', async () => {
  const tokenizer = await make({ tokenizerClass: 'BertTokenizer' });
  const texts = Array.from({ length: 300 }, () => 'cat '.repeat(20));
  const [one, two, three] = await Promise.all([
    tokenizer.encode(texts, { maxLength: 6 }),
    tokenizer.encodePairs(
      texts.map((text): TextPair => [text, text]),
      { maxLength: 13, prefix: 'on ' },
    ),
    tokenizer.encode(texts, { maxLength: 6 }),
  ]);
  assert.equal(one.ids.length, 1800);
  assert.deepEqual(three, one);
  assert.equal(two.ids.length, 3900);
  assert.equal(two.truncated, 300);
  assert.equal(two.ids[1], 8);
});

test('what is no pair of texts is refused', async () => {
  const tokenizer = await make({ tokenizerClass: 'BertTokenizer' });
  const refused = (pairs: unknown, maxLength: number, message: RegExp) =>
    assert.rejects(tokenizer.encodePairs(pairs as TextPair[], { maxLength }), { code: 'INPUT', message });
  await refused('ab', 9, /pairs is "ab"; a list of pairs/);
  await refused(
    [
      ['a', 'b'],
      ['a', 3],
    ],
    9,
    /pairs\[1\] is \["a",3\]; a pair of texts/,
  );
  await refused(
    [['a', 'b']],
    4,
    /maxLength is 4; a whole number from 5 is needed \(3 special tokens and at least one of each text\)/,
  );
});
