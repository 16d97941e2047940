import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  call,
  GradCache,
  infoNCE,
  multiVectorDistillKLDiv,
  multiVectorMultipleNegativesRanking,
  RepresentationCache,
  TextEncoder,
  type Tensor,
  type CreateOptions,
  type GradCacheError,
  type TokenBatch,
  type Tokenizer,
} from '../../lib/index.js';
import { clear, gradients, tenTexts } from '../exactness/support.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { assertClose } from '../oracle/compare.js';

const CONFIG = {
  model_type: 'bert',
  vocab_size: 97,
  hidden_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  intermediate_size: 40,
  max_position_embeddings: 40,
  type_vocab_size: 2,
  initializer_range: 0.3,
};

let tokenizer: Promise<Tokenizer> | undefined;
const create = async (options: CreateOptions = {}): Promise<TextEncoder> =>
  TextEncoder.create(CONFIG, await (tokenizer ??= smallTokenizer(97)), {
    precision: 'float64',
    pooling: 'none',
    dropout: 0,
    ...options,
  });

/** Words w1, w2, … of a text of this length. */
const words = (length: number, first: number): string =>
  Array.from({ length }, (_, k) => `w${1 + ((first + k * 7) % 90)}`).join(' ');
const TEXTS = [words(3, 1), words(12, 5), words(1, 9), words(7, 2), words(20, 3)];

/** The batch with the marks of some tokens that do not count: the third, and each fifth of all. */
function marked(batch: TokenBatch): TokenBatch {
  const counted = new Uint8Array(batch.ids.length).fill(1);
  for (let k = 0; k < counted.length; k += 5) counted[k] = 0;
  for (const begin of batch.offsets.subarray(0, -1)) counted[begin] = 1;
  return { ...batch, counted };
}

test('the mean of the tokens that a text gives is what mean pooling gives', async () => {
  const [tokens, mean] = [
    await create({ normalize: false }),
    await create({ normalize: false, pooling: 'mean' }),
  ];
  assert.deepEqual([tokens.perToken, mean.perToken], [true, false]);
  const { representations, offsets } = await tokens.encodeTokens(TEXTS, { tokensPerChunk: 9 });
  assert.deepEqual([...offsets], [0, 3, 15, 16, 23, 43]);
  assert.deepEqual(representations.shape, [43, 24]);
  const pooled = await mean.encode(TEXTS);
  for (const [text] of TEXTS.entries()) {
    const own = representations.narrow(0, offsets[text]!, offsets[text + 1]! - offsets[text]!);
    const row = pooled.narrow(0, text, 1);
    assertClose(
      own.mean(0).valuesSync() as Float64Array,
      row.reshape([-1]).valuesSync() as Float64Array,
      1e-12,
      `text ${text}`,
    );
  }
  const none = await tokens.encodeTokens([]);
  assert.deepEqual([none.representations.shape, [...none.offsets]], [[0, 24], [0]]);
});

test('a projection narrows the tokens, and they have length one', async () => {
  const encoder = await create({ projection: 5 });
  assert.equal(encoder.dimension, 5);
  assert.ok(encoder.parameters().some(({ name }) => name === 'dense.0.weight'));
  const { representations } = await encoder.encodeTokens(TEXTS);
  assert.deepEqual(representations.shape, [43, 5]);
  const lengths: Float64Array = call<Tensor>(
    'aten::linalg_vector_norm',
    representations,
    2,
    [1],
  ).valuesSync() as Float64Array;
  assertClose(lengths, new Float64Array(43).fill(1), 1e-12, 'lengths');
});

test('a step in chunks has the gradient of all texts in one graph, with marks and without', async () => {
  for (const [title, options, mark] of [
    ['bare', { normalize: false }, (batch: TokenBatch) => batch],
    ['projection', { projection: 7 }, marked],
    ['dropout', { projection: 7, dropout: 0.2 }, marked],
  ] as const) {
    const encoder = await create(options);
    const inputs = [tenTexts(1), tenTexts(2), tenTexts(3)].map(mark);
    const encoders = [encoder, encoder, encoder];
    const loss = multiVectorMultipleNegativesRanking({ scale: 0.7 });
    const found: { loss: number; gradients: Float64Array }[] = [];
    for (const { chunk, retain, passes } of [
      { chunk: { sequences: 3 }, retain: { bytes: 0 }, passes: true },
      { chunk: { sequences: 3 }, retain: { bytes: 1e9 }, passes: true },
      { chunk: { sequences: 3 }, retain: { bytes: 0 }, passes: false },
      ...(title === 'dropout' ? [] : [{ chunk: { tokens: 1000 }, retain: 'last', passes: true } as const]),
    ] as const) {
      clear([encoder]);
      const own = passes ? encoders : encoders.map((each) => withoutRowPasses(each));
      const gradcache = new GradCache({ encoders: own, loss, chunk, retain, seed: 3 });
      const result = await gradcache.step(inputs, { seed: 11 });
      found.push({ loss: result.loss, gradients: await weightsGradients(encoder) });
    }
    assert.ok(found[0]!.gradients.some((value) => value !== 0));
    for (const other of found.slice(1)) {
      assertClose([other.loss], [found[0]!.loss], 1e-12, `${title}: loss`);
      assertClose(other.gradients, found[0]!.gradients, 1e-10, `${title}: gradients`);
    }
  }
});

async function weightsGradients(encoder: TextEncoder): Promise<Float64Array> {
  const all = [...(await gradients([encoder])).values()].map((values) => Array.from(values));
  return Float64Array.from(all.flat());
}

/** The same encoder, whose chunks pass through JavaScript. */
function withoutRowPasses(encoder: TextEncoder): TextEncoder {
  return new Proxy(encoder, {
    get: (target, name) => {
      if (name === 'rowPasses') return undefined;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

test('the gradient of a step is that of finite differences', async () => {
  const encoder = await create({ projection: 4 });
  const inputs = [tenTexts(1), tenTexts(2)].map(marked);
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: multiVectorMultipleNegativesRanking(),
    chunk: { sequences: 4 },
  });
  const measure = async (): Promise<number> => (await gradcache.step(inputs)).loss;
  await measure();
  const { tensor } = encoder.parameters().find(({ name }) => name === 'dense.0.weight')!;
  const slope = tensor.grad!.mul(tensor.grad!).sum().item();
  const direction = tensor.grad!.clone();
  const at = async (step: number): Promise<number> => {
    call('aten::add_.Tensor', tensor.detach(), direction, { alpha: step }).dispose();
    return measure();
  };
  const difference = (await at(1e-5)) - (await at(-2e-5));
  assert.ok(Math.abs(difference / 2e-5 - slope) < 1e-5 * slope, `${difference / 2e-5} for ${slope}`);
});

test('the loss of a batch is that of a step without dropout, and labels are checked before anything is encoded', async () => {
  const encoder = await create({ projection: 4, dropout: 0.2 });
  const inputs = [tenTexts(1), tenTexts(2), tenTexts(3)].map(marked);
  const encoders = [encoder, encoder, encoder];
  const gradcache = new GradCache({ encoders, loss: multiVectorDistillKLDiv(), chunk: { sequences: 4 } });
  const labels = inputs[0]!.offsets.slice(1).map((_, row) => row);
  const loss = { labels: Array.from(labels, (row) => [row, Math.sin(row)]) };
  const value = await gradcache.lossOf(inputs, { loss });
  const calm = await create({ projection: 4, dropout: 0 });
  const step = await new GradCache({ encoders: [calm, calm, calm], loss: multiVectorDistillKLDiv() }).step(
    inputs,
    { loss },
  );
  assertClose([value], [step.loss], 1e-12, 'loss');
  let encoded = 0;
  const counting = new Proxy(encoder, {
    get: (target, name) => {
      if (name === 'rowPasses') encoded++;
      const found: unknown = Reflect.get(target, name, target);
      return typeof found === 'function' ? (found.bind(target) as unknown) : found;
    },
  });
  const watched = new GradCache({
    encoders: [counting, counting, counting],
    loss: multiVectorDistillKLDiv(),
  });
  for (const wrong of [{}, { labels: [1] }, { ...loss, targets: [0] }])
    await assert.rejects(watched.step(inputs, { loss: wrong }), (error: GradCacheError) =>
      ['INPUT', 'SHAPE'].includes(error.code),
    );
  assert.equal(encoded, 0);
});

test('by hand: chunks of a cache with counts, and losses of one representation a row refuse them', async () => {
  const encoder = await create({ projection: 4 });
  const batch = marked(tenTexts(1));
  const cache = new RepresentationCache([10]);
  const chunk = { batch, rows: Int32Array.of(4, 0, 9), tokens: 0 };
  const tokens = chunk.rows.reduce((sum, row) => sum + batch.offsets[row + 1]! - batch.offsets[row]!, 0);
  const encoded = await encoder.forwardChunk({ ...chunk, tokens }, { seed: 1 });
  const marks = [...chunk.rows].map((row) =>
    batch.counted!.subarray(batch.offsets[row], batch.offsets[row + 1]).reduce((sum, mark) => sum + mark, 0),
  );
  assert.deepEqual([...encoded.counts!], marks);
  cache.put(0, chunk.rows, encoded.representations, encoded.counts);
  cache.dispose();
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  await assert.rejects(gradcache.step([batch, batch]), {
    code: 'INPUT',
    message: /several representations a row/,
  });
});

test('queries and documents have lengths, expansion and words that are left out', async () => {
  const encoder = await create({
    lateInteraction: {
      queryLength: 5,
      documentLength: 4,
      queryExpansion: { strategy: 'fixed', length: 8, token: 'w3' },
      skippedWords: ['w8', 'none of the tokenizer'],
    },
  });
  const query = await encoder.tokenize([words(3, 0), words(12, 0)], { task: 'query' });
  assert.deepEqual([...query.offsets], [0, 8, 16]);
  assert.deepEqual([...query.ids.subarray(0, 8)], [1, 8, 15, 3, 3, 3, 3, 3]);
  assert.deepEqual([...query.ids.subarray(8)], [1, 8, 15, 22, 29, 36, 43, 50]);
  assert.equal(query.counted, undefined);
  assert.deepEqual([...query.unattended!], [5, 0]);
  assert.equal(query.truncated, 1);
  const document = await encoder.tokenize([words(3, 0), words(12, 0)], { task: 'document' });
  assert.deepEqual([...document.offsets], [0, 3, 7]);
  assert.deepEqual([...document.counted!], [1, 0, 1, 1, 0, 1, 1]);
  const neither = await encoder.tokenize([words(12, 0)]);
  assert.deepEqual([neither.ids.length, neither.counted!.reduce((sum, mark) => sum + mark)], [12, 11]);
  const { offsets, representations } = await encoder.encodeTokens([words(3, 0)], { task: 'document' });
  assert.deepEqual(
    [[...offsets], representations.shape],
    [
      [0, 2],
      [2, 24],
    ],
  );

  const least = await create({
    lateInteraction: { queryLength: 9, queryExpansion: { strategy: 'min', length: 4, token: 'w3' } },
  });
  const queries = await least.tokenize([words(2, 0), words(12, 0)], { task: 'query' });
  assert.deepEqual([...queries.offsets], [0, 4, 13]);

  for (const [run, error] of [
    [
      () => encoder.tokenize(['w1'], { task: 'query', maxLength: 7 }),
      { code: 'INPUT', message: /maxLength is 7/ },
    ],
    [() => encoder.tokenize(['w1'], { task: 'passage' as never }), { code: 'INPUT', message: /document/ }],
    [() => encoder.encode(['w1']), { code: 'INPUT', message: /encodeTokens/ }],
    [() => encoder.encodeTokens(['w8']), { code: 'INPUT', message: /no token of sequence 0/i }],
    [
      async () => (await create({ pooling: 'mean' })).encodeTokens(['w1']),
      { code: 'INPUT', message: /encode\(\)/ },
    ],
    [
      async () => (await create({ pooling: 'mean' })).tokenize(['w1'], { task: 'passage' as never }),
      { code: 'INPUT' },
    ],
    [() => create({ pooling: 'mean', projection: 3 }), { code: 'INPUT', message: /projection/ }],
    [() => create({ projection: 0 }), { code: 'INPUT', message: /projection is 0/ }],
    [
      () => create({ lateInteraction: { queryExpansion: { strategy: 'fixed', length: 8, token: 'x' } } }),
      { code: 'CHECKPOINT', message: /has no x/ },
    ],
    [
      () => create({ lateInteraction: { skippedIn: ['both' as never] } }),
      { code: 'INPUT', message: /skippedIn/ },
    ],
    [() => create({ lateInteraction: { queryLength: 0 } }), { code: 'INPUT', message: /queryLength/ }],
  ] as const)
    await assert.rejects(async () => run(), error);
});

test('nothing attends to the tokens of an expansion, unless it is asked for', async () => {
  const expanded = async (attend: boolean | undefined, token = 'w3') => {
    const queryExpansion = {
      strategy: 'min',
      length: 9,
      token,
      ...(attend !== undefined && { attend }),
    } as const;
    using encoder = await create({ lateInteraction: { queryExpansion }, seed: 4 });
    const { representations, offsets } = await encoder.encodeTokens(TEXTS, { task: 'query' });
    const of = (text: number) =>
      representations
        .narrow(0, offsets[text]!, offsets[text + 1]! - offsets[text]!)
        .valuesSync() as Float64Array;
    return TEXTS.map((_, text) => of(text));
  };
  using plain = await create({ seed: 4 });
  const { representations, offsets } = await plain.encodeTokens(TEXTS);
  const own = TEXTS.map(
    (_, text) =>
      representations
        .narrow(0, offsets[text]!, offsets[text + 1]! - offsets[text]!)
        .valuesSync() as Float64Array,
  );
  const [apart, seen] = [await expanded(undefined), await expanded(true)];
  for (const [text, words] of own.entries()) {
    assertClose(apart[text]!.subarray(0, words.length), words, 1e-12, `text ${text}`);
    const longer = apart[text]!.length > words.length;
    assert.equal(
      words.some((value, k) => Math.abs(value - seen[text]![k]!) > 1e-3),
      longer,
      `text ${text}`,
    );
  }
  assert.deepEqual(await expanded(false), apart);
});

test('gradients with tokens that nothing attends to are the same in chunks, and of graphs that are kept', async () => {
  const queryExpansion = { strategy: 'fixed', length: 12, token: 'w3' } as const;
  const trained = async (dropout: number, sequences: number, retain: 'auto' | 'last') => {
    using encoder = await create({ lateInteraction: { queryExpansion }, seed: 4, dropout });
    const loss = multiVectorMultipleNegativesRanking();
    const chunk = { sequences };
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk, retain, seed: 5 });
    await gradcache.step([
      encoder.tokenize(TEXTS, { task: 'query' }),
      encoder.tokenize(TEXTS.toReversed(), { task: 'document' }),
    ]);
    return await gradients([encoder]);
  };
  for (const [first, second] of [
    [await trained(0, 100, 'auto'), await trained(0, 2, 'last')],
    [await trained(0.2, 2, 'auto'), await trained(0.2, 2, 'last')],
  ] as const)
    for (const [name, values] of first)
      if (!name.endsWith('key.bias')) assertClose(second.get(name)!, values, 1e-10, name);
});

test('numbers of unattended tokens that do not fit are refused', async () => {
  const encoder = await create();
  const batch = tenTexts(1);
  const texts = batch.offsets.length - 1;
  for (const [unattended, error] of [
    [[1], { code: 'INPUT', message: /Int32Array/ }],
    [new Int32Array(texts - 1).fill(1), { code: 'SHAPE', message: /numbers for/ }],
    [new Int32Array(texts).fill(1000), { code: 'INPUT', message: /fewer than all/ }],
    [new Int32Array(texts).fill(-1), { code: 'INPUT', message: /the last -1/ }],
  ] as const) {
    const wrong = { ...batch, unattended } as unknown as TokenBatch;
    await assert.rejects(async () => encoder.pack(wrong), error);
  }
  const sru = { model_type: 'sru', vocab_size: 97, hidden_size: 8, num_hidden_layers: 1 };
  using recurrent = TextEncoder.create(sru, await smallTokenizer(97), { precision: 'float64' });
  const some = { ...batch, unattended: new Int32Array(texts).fill(1) };
  await assert.rejects(async () => recurrent.pack(some), { code: 'INPUT', message: /no other attends to/ });
});

test("a length of queries or documents takes the place of the model's, as far as it has positions", async () => {
  const long = await create({
    maxLength: 6,
    lateInteraction: { queryExpansion: { strategy: 'fixed', length: 8, token: 'w3' } },
  });
  await assert.rejects(long.tokenize(['w1'], { task: 'query' }), {
    code: 'INPUT',
    message: /maxLength is 6/,
  });
  for (const lateInteraction of [
    { queryLength: 41 },
    { documentLength: 41 },
    { queryExpansion: { strategy: 'fixed', length: 41, token: 'w3' } },
  ] as const)
    await assert.rejects(create({ lateInteraction }), {
      code: 'INPUT',
      message: /lateInteraction\..*[lL]ength is 41; at most 40/,
    });
});

test('marks that do not fit, and marks for a model that pools, are refused', async () => {
  const [encoder, pools] = [await create(), await create({ pooling: 'mean' })];
  const batch = tenTexts(1);
  for (const [of, counted, error] of [
    [encoder, [1], { code: 'INPUT', message: /Uint8Array/ }],
    [encoder, new Uint8Array(2), { code: 'SHAPE', message: /2 numbers for/ }],
    [encoder, new Uint8Array(batch.ids.length), { code: 'INPUT', message: /sequence 0/ }],
    [pools, new Uint8Array(batch.ids.length).fill(1), { code: 'INPUT', message: /pools/ }],
  ] as const) {
    const wrong = { ...batch, counted } as unknown as TokenBatch;
    await assert.rejects(async () => of.pack(wrong), error);
  }
});

test('a saved model is opened again as it was, and a model that pools can be made one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcache-per-token-'));
  try {
    const encoder = await create({
      precision: 'float32',
      projection: 6,
      lateInteraction: {
        queryLength: 20,
        documentLength: 30,
        queryExpansion: { strategy: 'min', length: 4, token: 'w3' },
        skippedWords: ['w8'],
        skippedIn: ['query', 'document'],
      },
    });
    encoder.setSimilarity('meanmaxsim');
    assert.throws(() => encoder.setSimilarity('cosine'), { code: 'INPUT', message: /maxsim/ });
    const path = join(folder, 'tokens');
    await encoder.save(path);
    const again = await TextEncoder.load(path);
    assert.deepEqual([again.perToken, again.similarity, again.dimension], [true, 'meanmaxsim', 6]);
    for (const task of ['query', 'document'] as const) {
      const [first, second] = [
        await encoder.encodeTokens(TEXTS, { task }),
        await again.encodeTokens(TEXTS, { task }),
      ];
      assert.deepEqual(second.offsets, first.offsets);
      assert.deepEqual(second.representations.valuesSync(), first.representations.valuesSync());
    }
    await again.save(join(folder, 'again'));
    for (const file of ['modules.json', 'sentence_bert_config.json', 'config_sentence_transformers.json'])
      assert.equal(
        await readFile(join(folder, 'again', file), 'utf8'),
        await readFile(join(path, file), 'utf8'),
      );

    const pooled = join(folder, 'pooled');
    await (await create({ precision: 'float32', pooling: 'mean', normalize: true })).save(pooled);
    const made = await TextEncoder.load(pooled, { pooling: 'none', projection: 3, seed: 5 });
    const same = await TextEncoder.load(pooled, { pooling: 'none', projection: 3, seed: 5 });
    assert.deepEqual([made.perToken, made.similarity, made.dimension], [true, 'maxsim', 3]);
    const values = (await made.encodeTokens(TEXTS)).representations.valuesSync();
    assert.deepEqual((await same.encodeTokens(TEXTS)).representations.valuesSync(), values);
    await made.save(join(folder, 'made'));
    const opened = await TextEncoder.load(join(folder, 'made'));
    assert.deepEqual((await opened.encodeTokens(TEXTS)).representations.valuesSync(), values);
    await assert.rejects(TextEncoder.load(join(folder, 'made'), { pooling: 'none', projection: 3 }), {
      code: 'INPUT',
      message: /already/,
    });
    await assert.rejects(TextEncoder.load(pooled, { projection: 3 }), {
      code: 'INPUT',
      message: /pooling 'none'/,
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});
