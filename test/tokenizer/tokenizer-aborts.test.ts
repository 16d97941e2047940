import assert from 'node:assert/strict';
import { test } from 'node:test';
import { longestReplacement } from '../../lib/tokenizer/precompiled-map.js';
import { LONGEST_FOR_PATTERNS, requireBoundedPattern } from '../../lib/tokenizer/regex-cost.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { bytePairs, unigrams, wordPieces, type TokenizerJson } from '../oracle/small-tokenizers.js';
import { badPatterns, patterns, smallCharsmap } from '../fuzz/tokenizer-gallery.js';

// Each of these ended the process, at once or at some text.

const open = (json: TokenizerJson) => Tokenizer.fromJson(JSON.stringify(json));
const refuses = (json: TokenizerJson, message: RegExp) =>
  assert.rejects(open(json), { code: 'CHECKPOINT', message }, JSON.stringify(json).slice(-300));
const ids = async (json: TokenizerJson, text: string) => [
  ...(await (await open(json)).encode([text], { maxLength: 64 })).ids,
];

test('a template must list the tokens that it names, and take one text', async () => {
  const template = wordPieces().post_processor as Record<string, unknown>;
  const single = template.single as unknown[];
  const processor = (changes: object) => wordPieces({ post_processor: { ...template, ...changes } });
  await refuses(processor({ special_tokens: {} }), /names "\[CLS\]", which its special_tokens do not list/);
  await refuses(processor({ single: [{ Sequence: { id: 'B', type_id: 0 } }] }), /a second text/);
  await refuses(processor({ single: [...single, ...single] }), /the text 2 times/);
  await refuses(processor({ single: [] }), /the text 0 times/);
  const twice = { type: 'Sequence', processors: [template, template] };
  await refuses(wordPieces({ post_processor: twice }), /more than one that adds tokens/);
  const bytes = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true };
  const once = { type: 'Sequence', processors: [template, bytes] };
  assert.deepEqual(await ids(wordPieces({ post_processor: once }), 'cat'), await ids(wordPieces(), 'cat'));
});

test('a merge must give a token of the vocabulary', async () => {
  const model = bytePairs().model as Record<string, unknown>;
  const { vocab, merges } = model as { vocab: Record<string, number>; merges: string[][] };
  for (const continuing_subword_prefix of ['#', '####################'])
    await refuses(
      bytePairs({ model: { ...model, continuing_subword_prefix } }),
      /gives no token of the vocabulary/,
    );
  const { Ġthe: _, ...short } = vocab;
  await refuses(bytePairs({ model: { ...model, vocab: short } }), /the merge of "Ġth" and "e"/);
  const old = merges.map((pair) => pair.join(' '));
  await refuses(bytePairs({ model: { ...model, vocab: short, merges: old } }), /the merge of "Ġth" and "e"/);
  const prefixed = { a: 0, '##b': 1, ab: 2 };
  const good = { ...model, continuing_subword_prefix: '##', vocab: prefixed, merges: [['a', '##b']] };
  assert.deepEqual(await ids(bytePairs({ model: good, added_tokens: [], post_processor: null }), 'ab'), [2]);
});

test('patterns that may take too many tries are refused, those of published tokenizers are not', async () => {
  for (const pattern of badPatterns) {
    const Regex = { Regex: pattern };
    const split = { type: 'Split', pattern: Regex, behavior: 'Isolated', invert: false };
    const replace = { type: 'Replace', pattern: Regex, content: 'x' };
    await refuses(wordPieces({ pre_tokenizer: split }), /pattern|range/);
    await refuses(wordPieces({ normalizer: { type: 'Sequence', normalizers: [replace] } }), /pattern|range/);
  }
  for (const pattern of patterns) assert.equal(requireBoundedPattern(pattern).empty, false, pattern);
  for (const pattern of ['a*', 'a?|b', '(?=a)', '^', '(a|)', '', '\\b', 'a{0,3}'])
    assert.equal(requireBoundedPattern(pattern).empty, true, pattern);
});

test('a group that is matched in one way may be repeated', async () => {
  for (const pattern of ['(?:ab)+', '\\d{1,3}(?:,\\d{3})*', '\\d{3}(?=(?:\\d{3})*\\b)', '(?:[a-z]\\d)*x']) {
    const split = { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
    const tokenizer = await open(wordPieces({ pre_tokenizer: split }));
    const texts = ['ab', 'a1', ',123', '1'].map((text) => text.repeat(3000));
    assert.equal((await tokenizer.encode(texts, { maxLength: 8 })).offsets.length, texts.length + 1);
  }
  const bad = [
    '(?:ab?)+',
    '(?:a|b)+',
    '(?:(?!x)a)+',
    '(?:a*b)+',
    '(?i)(?:ss)+',
    '(?:ab)+(?:ab)+c',
    '(?:ab){9}',
    '(?:^)*',
  ];
  for (const pattern of bad)
    assert.throws(() => requireBoundedPattern(pattern), { code: 'CHECKPOINT' }, pattern);
});

test('each refusal says its own way out', async () => {
  const split = { type: 'Split', pattern: { Regex: '(a+)+' }, behavior: 'Isolated', invert: false };
  for (const json of [
    wordPieces({ pre_tokenizer: split }),
    wordPieces({ pre_tokenizer: { type: 'FixedLength', length: 0 } }),
    wordPieces({ normalizer: { type: 'Precompiled', precompiled_charsmap: '!!' } }),
  ]) {
    const error = await open(json).catch((reason: Error) => reason);
    assert.match((error as Error).message, /\. (Write|Give|The map is damaged).+\.$/);
    assert.doesNotMatch((error as Error).message, /save_pretrained/);
  }
  await assert.rejects(Tokenizer.fromJson('{'), { code: 'CHECKPOINT', message: /save_pretrained/ });
});

test('a tokenizer with patterns of its own does not take texts without end', async () => {
  const split = { type: 'Split', pattern: { Regex: ' +|[^ ]+' }, behavior: 'Isolated', invert: false };
  const tokenizer = await open(wordPieces({ pre_tokenizer: split }));
  const long = ' '.repeat(LONGEST_FOR_PATTERNS);
  assert.equal((await tokenizer.encode(['cat', long], { maxLength: 8 })).offsets.length, 3);
  await assert.rejects(tokenizer.encode(['cat', `${long} `], { maxLength: 8 }), {
    code: 'INPUT',
    message:
      /^Text 1 \(.*\) has 500001 characters.* Cut the text before it is encoded: maxLength cuts tokens/,
  });
});

test('steps that do not end, or lengthen a text without bound, are refused', async () => {
  await refuses(wordPieces({ pre_tokenizer: { type: 'FixedLength', length: 0 } }), /length 0/);
  const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
  await refuses(wordPieces({ normalizer: replace({ String: '' }, 'x') }), /replaces the empty text/);
  await refuses(wordPieces({ normalizer: replace({ Regex: 'a*' }, 'x') }), /replaces the empty text/);
  // A character for a character lengthens nothing, however many steps there are.
  const single = ['‘', '–', '▁'].flatMap((each) => [
    replace({ Regex: each }, '—'),
    replace({ String: '-' }, each),
  ]);
  await open(
    wordPieces({ normalizer: { type: 'Sequence', normalizers: [...single, ...single, ...single] } }),
  );
  const normalizers = Array.from({ length: 12 }, () => replace({ String: 'a' }, 'aa'));
  await refuses(
    wordPieces({ normalizer: { type: 'Sequence', normalizers } }),
    /lengthen a text up to 4096 times/,
  );
});

test('added tokens that overlap in spaces, or are empty once normalized, are refused', async () => {
  const token = { ...(wordPieces().added_tokens as object[])[0], special: false };
  const added = (...changes: object[]) =>
    wordPieces({ added_tokens: changes.map((each, id) => ({ ...token, id, ...each })) });
  const blank = { content: ' ', lstrip: true };
  await refuses(added(blank, { content: 'a', rstrip: true }), /takes the spaces before it/);
  await refuses(added({ ...blank, rstrip: true }), /takes the spaces before it/);
  await open(added(blank, { content: 'a' }));
  const cleaned = { content: '\u0007', normalized: true };
  await refuses(
    { ...added(cleaned), normalizer: wordPieces().normalizer },
    /"\\u0007" is empty once it is normalized/,
  );
});

test('a sentencepiece map is followed before it is used', async () => {
  const map = smallCharsmap();
  const with64 = (precompiled_charsmap: unknown) =>
    unigrams({ normalizer: { type: 'Precompiled', precompiled_charsmap } });
  assert.equal(longestReplacement(map.toString('base64')), 3);
  const plain = await ids(unigrams(), 'bcd xbcd');
  assert.deepEqual(await ids(with64(map.toString('base64')), 'a xa'), plain);
  const broken = (change: (bytes: Buffer) => Buffer | void) => {
    const bytes = Buffer.from(map);
    return with64((change(bytes) ?? bytes).toString('base64'));
  };
  const charsmap = /precompiled_charsmap/;
  await refuses(with64('!!'), charsmap);
  await refuses(with64(3), charsmap);
  await refuses(
    broken((bytes) => bytes.subarray(0, 100)),
    /cut off/,
  );
  await refuses(
    broken(() => Buffer.alloc(4)),
    /leads out of itself/,
  );
  // The trie without its last units; a replacement that begins in the middle of a character; one beyond the end.
  await refuses(
    broken((bytes) => void bytes.writeUInt32LE(4 * 200, 0)),
    charsmap,
  );
  const middle = Buffer.from('\0\0é\0');
  await refuses(
    broken((bytes) => Buffer.concat([bytes.subarray(0, -4), middle])),
    /no replacement/,
  );
  await refuses(
    broken((bytes) => void bytes.writeUInt32LE(0x80000fff, 4 + 4 * 256)),
    /no replacement/,
  );
  await refuses(
    broken((bytes) => void bytes.writeUInt8(0xff, bytes.length - 2)),
    /not UTF-8/,
  );
});

test('a token that the settings name and the vocabulary lacks is told with the text that needs it', async () => {
  const model = { ...(wordPieces().model as object), unk_token: '[NONE]' };
  const tokenizer = await open(wordPieces({ model }));
  assert.equal((await tokenizer.encode(['cat'], { maxLength: 8 })).ids.length, 3);
  await assert.rejects(tokenizer.encode(['cat', 'mat', '☃', 'cat'], { maxLength: 8 }), {
    code: 'CHECKPOINT',
    message: /^Text 2 \("☃"\) cannot be taken by the tokenizer: WordPiece error: Missing \[UNK\] token/,
  });
  const unigram = { ...(unigrams().model as object), unk_id: null };
  await assert.rejects((await open(unigrams({ model: unigram }))).encode(['☃'], { maxLength: 8 }), {
    code: 'CHECKPOINT',
    message: /^Text 0 /,
  });
});

test('a key that is twice in the file counts once', async () => {
  const bad = JSON.stringify({ type: 'FixedLength', length: 0 });
  const json = JSON.stringify(wordPieces()).replace(
    '"pre_tokenizer":',
    `"pre_tokenizer":${bad},"pre_tokenizer":`,
  );
  const tokenizer = await Tokenizer.fromJson(json);
  assert.deepEqual(
    [...(await tokenizer.encode(['cat'], { maxLength: 8 })).ids],
    await ids(wordPieces(), 'cat'),
  );
});
