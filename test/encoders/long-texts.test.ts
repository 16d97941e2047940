import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { CrossEncoder, TextEncoder, Tokenizer, type SparseRows } from '../../lib/index.js';
import { smallTokenizer } from './small-model.js';

const config = {
  ...{ model_type: 'bert', vocab_size: 18, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2 },
  ...{ intermediate_size: 12, max_position_embeddings: 16, initializer_range: 0.5 },
};
let tokenizer: Tokenizer;

before(async () => {
  const ends = { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] };
  tokenizer = await Tokenizer.fromJson(JSON.stringify(smallTokenizer({ post_processor: ends })));
});

// Each word is a token, so that windows of 8 tokens have 6 words beside [CLS] and [SEP].
const WORDS = ['the', 'cat', 'sat', 'on', 'mat', 'The', 'query', 'e', 'cat', 'on', 'the', 'mat', 'sat', 'É'];
const LONG = WORDS.join(' ');
const SHORT = 'the cat';
const pieces = (size: number, step = size): string[] => {
  const cut: string[] = [];
  for (let from = 0; cut.length === 0 || from + size - step < WORDS.length; from += step)
    cut.push(WORDS.slice(from, from + size).join(' '));
  return cut;
};

const dense = ({ values, columns, offsets, dimension }: SparseRows): number[][] =>
  Array.from({ length: offsets.length - 1 }, (_, row) => {
    const full = new Array<number>(dimension).fill(0);
    for (let k = offsets[row]!; k < offsets[row + 1]!; k++) full[columns[k]!] = values[k]!;
    return full;
  });

/** Other texts in a batch change how sums are rounded. */
function assertNear(actual: Iterable<number>, expected: Iterable<number>): void {
  const [left, right] = [[...actual], [...expected]];
  assert.equal(left.length, right.length);
  for (const [k, value] of left.entries())
    assert.ok(Math.abs(value - right[k]!) < 1e-5, `${value} is not ${right[k]} (${k})`);
}

test('sparse representations of a long text have the greatest value of its windows, or their sum', async () => {
  for (const strategy of ['max', 'sum'] as const) {
    using encoder = TextEncoder.create(config, tokenizer, {
      ...{ pooling: 'splade', splade: { strategy }, maxLength: 8, seed: 3 },
    });
    for (const [windows, parts] of [
      [true, pieces(6)],
      [{ overlap: 2 }, pieces(6, 4)],
    ] as const) {
      const rows = await encoder.encodeSparse([SHORT, LONG, SHORT], { windows });
      const each = dense(await encoder.encodeSparse(parts));
      const joined = each.reduce((a, b) =>
        a.map((value, k) => (strategy === 'max' ? Math.max(value, b[k]!) : value + b[k]!)),
      );
      const [first, long, last] = dense(rows);
      assertNear(long!, joined);
      assertNear(first!, last!);
      assertNear(first!, dense(await encoder.encodeSparse([SHORT]))[0]!);
    }
    const cut = await encoder.encodeSparse([LONG]);
    assert.deepEqual(await encoder.encodeSparse([LONG], { windows: false }), cut);
    using rows = await encoder.encode([LONG]); // cut at the same place
    assertNear(dense(cut)[0]!, (await rows.values()) as Float32Array);
  }
});

test('token representations of a long text are those of its windows, one after the other', async () => {
  using encoder = TextEncoder.create(config, tokenizer, { pooling: 'none', maxLength: 8, seed: 3 });
  const prompt = { prefix: 'query : ' };
  const windowed = await encoder.encodeTokens([LONG, SHORT], { windows: true, prompt });
  const parts = await encoder.encodeTokens([...pieces(4), SHORT], { prompt });
  using rows = windowed.representations;
  using expected = parts.representations;
  assertNear((await rows.values()) as Float32Array, (await expected.values()) as Float32Array);
  assert.deepEqual([...windowed.offsets], [0, 8 * 3 + 6, 8 * 3 + 6 + 6]);
  const none = await encoder.encodeTokens([], { windows: true });
  assert.equal(none.offsets.length, 1);
  none.representations.dispose();
});

test('a cross-encoder reads documents in windows beside the whole query, and the best counts', async () => {
  using model = CrossEncoder.create(config, tokenizer, { maxLength: 9, seed: 3 });
  // [CLS] query [SEP] 4 words of the document [SEP]
  const query = 'the mat';
  const parts = pieces(4).map((part): [string, string] => [query, part]);
  const best = Math.max(...(await model.predict(parts)));
  const scores = await model.predict(
    [
      [query, SHORT],
      [query, LONG],
    ],
    { windows: true },
  );
  assertNear(scores, [(await model.predict([[query, SHORT]]))[0]!, best]);
  const ranked = await model.rank(query, [LONG, SHORT], { windows: { overlap: 0 } });
  assertNear([ranked.find(({ index }) => index === 0)!.score], [best]);
});

test('a first text that fills a window is cut as it is without windows, and the second is read to its end', async () => {
  // [CLS], [SEP] and [SEP] leave 6 of 9 tokens for both texts.
  using model = CrossEncoder.create(config, tokenizer, { maxLength: 9, seed: 3 });
  const half = WORDS.slice(0, 3).join(' ');
  const best = Math.max(...(await model.predict(pieces(3).map((part): [string, string] => [half, part]))));
  const pairs: [string, string][] = [
    [LONG, SHORT],
    [LONG, LONG],
    [LONG, ''],
  ];
  const scores = await model.predict(pairs, { windows: true });
  const cut = await model.predict(pairs);
  assertNear(scores, [cut[0]!, best, cut[2]!]);
  const { batch, counts } = await model.tokenizeWindows(pairs);
  const whole = await model.tokenize(pairs);
  assert.deepEqual([...counts], [1, pieces(3).length, 1]);
  assert.equal(batch.truncated, 3);
  const row = ({ ids, offsets }: typeof batch, place: number) => [
    ...ids.subarray(offsets[place], offsets[place + 1]),
  ];
  for (const [of, at] of [
    [0, 0],
    [1, 1],
    [2, 1 + pieces(3).length],
  ] as const)
    assert.deepEqual(row(batch, at), row(whole, of), 'the first window is what is left without windows');
  await assert.rejects(model.predict(pairs, { windows: { overlap: 3 } }), {
    code: 'INPUT',
    message: /^overlap is 3; less than 3 \(a window has 9 tokens, 3 special, and a first text can have half/,
  });
});

test('windows of one long text are made and pooled in pieces, and come to the same', async () => {
  const long = Array.from({ length: 500 }, (_, k) => WORDS[(k * 5) % WORDS.length]).join(' ');
  const pieces = async (texts: readonly string[], most: number) => {
    const found: number[][] = [];
    let longest = 0;
    for await (const { batch, texts: of } of tokenizer.windowPieces(
      texts,
      { maxLength: 8, overlap: 4 },
      most,
    )) {
      longest = Math.max(longest, batch.ids.length);
      for (const [row, text] of of.entries())
        found.push([text, ...batch.ids.subarray(batch.offsets[row], batch.offsets[row + 1])]);
    }
    return { found, longest };
  };
  const texts = [SHORT, long, SHORT];
  const few = await pieces(texts, 40);
  const all = await pieces(texts, Infinity);
  assert.deepEqual(few.found, all.found);
  assert.ok(few.longest < 48 && all.longest > 1500, `${few.longest}, ${all.longest}`);
  using encoder = TextEncoder.create(config, tokenizer, { pooling: 'splade', maxLength: 8, seed: 3 });
  const [windows, once] = [{ overlap: 4 }, await encoder.encodeSparse(texts, { windows: { overlap: 4 } })];
  const small = await encoder.encodeSparse(texts, { windows, tokensPerChunk: 16 });
  for (const [row, values] of dense(small).entries()) assertNear(values, dense(once)[row]!);
  using model = CrossEncoder.create(config, tokenizer, { maxLength: 9, seed: 3 });
  const pairs = texts.map((text): [string, string] => ['the mat', text]);
  assertNear(
    await model.predict(pairs, { windows: true, tokensPerChunk: 16 }),
    await model.predict(pairs, { windows: true }),
  );
});

test('one long text takes little memory', async () => {
  // All windows together would be 2 MB of tokens and 240 MB of representations.
  const script = `
    import { TextEncoder, Tokenizer } from ${JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)};
    const words = Array.from({ length: 4000 }, (_, k) => 'w' + k);
    const vocab = Object.fromEntries(['[PAD]', '[UNK]', ...words].map((word, id) => [word, id]));
    const tokenizer = await Tokenizer.fromJson(JSON.stringify({
      version: '1.0', added_tokens: [], pre_tokenizer: { type: 'Whitespace' },
      model: { type: 'WordLevel', vocab, unk_token: '[UNK]' },
    }));
    const config = {
      model_type: 'bert', vocab_size: 4002, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 1,
      intermediate_size: 8, max_position_embeddings: 32, initializer_range: 0.5,
    };
    const encoder = TextEncoder.create(config, tokenizer, { pooling: 'splade', maxLength: 32 });
    const text = Array.from({ length: 60_000 }, (_, k) => words[(k * 7919) % 4000]).join(' ');
    await encoder.encodeSparse(['w1 w2'], { windows: true });
    const before = process.resourceUsage().maxRSS;
    await encoder.encodeSparse([text], { windows: { overlap: 24 } });
    console.log((process.resourceUsage().maxRSS - before) / 1024);
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  assert.ok(Number(stdout) < 250, `${stdout} MiB`);
});

test('windows are refused where they have no meaning, and settings of another kind', async () => {
  using model = CrossEncoder.create(config, tokenizer, { labels: 2 });
  await assert.rejects(model.predict([[SHORT, LONG]], { windows: true }), {
    code: 'INPUT',
    message: /the model has 2 labels/,
  });
  using encoder = TextEncoder.create(config, tokenizer, { pooling: 'mean' });
  await assert.rejects(encoder.encode([LONG], { windows: true } as object), {
    code: 'INPUT',
    message: /encodeSparse, encodeTokens and CrossEncoder take windows/,
  });
  using tokens = TextEncoder.create(config, tokenizer, {
    ...{ pooling: 'none', maxLength: 8 },
    lateInteraction: { queryExpansion: { strategy: 'fixed', length: 8 } },
  });
  await assert.rejects(tokens.encodeTokens([LONG], { windows: true, task: 'query' }), {
    code: 'INPUT',
    message: /queries of this model are expanded/,
  });
  for (const windows of [{ overlap: -1 }, { overlap: 6 }, { overlap: 0.5 }, { more: 1 }, 'yes', 1])
    await assert.rejects(tokens.encodeTokens([LONG], { windows: windows as unknown as boolean }), {
      code: 'INPUT',
    });
  for (const texts of [undefined, 'a text', [1], [[SHORT, LONG], SHORT]])
    await assert.rejects(tokenizer.encodeWindows(texts as string[], { maxLength: 8 }), { code: 'INPUT' });
});
