import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AdamW,
  backward,
  call,
  clipGradNorm,
  GradCacheError,
  infoNCE,
  Tensor,
  TextEncoder,
  threads,
  tidy,
  useLibtorch,
  withSeed,
} from '../../lib/index.js';
import { native } from '../../lib/addon/native.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { tenTexts, textEncoder, whole } from '../exactness/support.js';
import { fails } from './failures.js';

test('Tensor.from and fromBytes check what they are given', () => {
  const refused: [() => unknown, (error: unknown) => boolean][] = [
    [() => Tensor.from([1, 2, 3], { shape: [2, 2] }), fails('SHAPE', /\[2, 2\]/)],
    [() => Tensor.from([1, 2], { shape: [-1, -2] }), fails('SHAPE', /negative/)],
    [() => Tensor.from([1, 2], { shape: [2 ** 40, 2 ** 40] }), fails('SHAPE', /large/)],
    [() => Tensor.from([1, 2], { shape: [0.5, 4] }), fails('SHAPE', /integer/)],
    [() => Tensor.from([1, 2], { shape: ['2'] as never }), fails('SHAPE', /number/)],
    [() => Tensor.from([1, 2], { shape: 2 as never }), fails('SHAPE')],
    [() => Tensor.from([1, 2], { dtype: 'float31' as never }), fails('DTYPE', /float31/)],
    [() => Tensor.from([1, 2], { device: 'gpu' }), fails('DEVICE', /gpu/)],
    [() => Tensor.from([1, 2], { device: 'meta' }), fails('DEVICE', /meta/)],
    [() => Tensor.from('text' as never), fails('INPUT')],
    [() => Tensor.from(null as never), fails('INPUT')],
    [() => Tensor.from(undefined as never), fails('INPUT')],
    [() => Tensor.from({} as never), fails('INPUT')],
    [
      () => Tensor.fromBytes(new Uint8Array(7), { shape: [2], dtype: 'float32' }),
      fails('SHAPE', /8 bytes, 7/),
    ],
    [() => Tensor.fromBytes([1, 2] as never, { shape: [2], dtype: 'uint8' }), fails('INPUT')],
    [() => Tensor.fromBytes(new Uint8Array(2), {} as never), fails(['SHAPE', 'INPUT', 'DTYPE'])],
  ];
  for (const [make, expected] of refused) assert.throws(make, expected, make.toString());
  assert.deepEqual(Tensor.from([], { shape: [0, 3] }).shape, [0, 3]);
  assert.equal(Tensor.from([1, 2, 3]).byteLength, 12);
});

test('tensors that do not go together', () => {
  const a = Tensor.from([1, 2]);
  assert.throws(() => a.copyFrom(Tensor.from([1, 2, 3])), fails('SHAPE', /\[3\].*\[2\]/));
  assert.throws(() => (a.grad = Tensor.from([1, 2, 3])), fails('SHAPE', /grad/));
  assert.throws(() => (a.grad = Tensor.from([1, 2], { dtype: 'float64' })), fails('DTYPE', /grad/));
  assert.throws(
    () => (Tensor.from([1, 2], { dtype: 'int64' }).requiresGrad = true),
    fails(['DTYPE', 'OPERATOR']),
  );
  assert.throws(() => a.item(), fails('SHAPE', /one element/));
  assert.throws(() => a.add('1' as never), GradCacheError);
  assert.throws(() => a.add(Tensor.from([1, 2, 3])), fails('OPERATOR'));
  assert.throws(() => a.matmul(Tensor.from([1, 2], { dtype: 'float64' })), fails(['DTYPE', 'OPERATOR']));
  const product = Tensor.from([1, 2]);
  product.requiresGrad = true;
  const result = product.mul(2);
  assert.throws(() => (result.requiresGrad = false), fails('OPERATOR', /leaf/));
  assert.throws(() => call('aten::add_.Tensor', product, 1), fails('OPERATOR', /leaf/));
});

test('backward refuses what it cannot go through', async () => {
  const leaf = Tensor.from([1, 2]);
  await assert.rejects(backward([leaf], [null]), fails('INPUT', /gradient/));
  leaf.requiresGrad = true;
  const root = leaf.mul(3);
  await assert.rejects(backward([root], [null]), fails('SHAPE', /seed/));
  await assert.rejects(backward([root], [Tensor.from([1, 2, 3])]), fails('SHAPE', /seed 0/));
  await assert.rejects(backward([root], []), fails('SHAPE', /1 roots and 0/));
  await assert.rejects(backward([], []), fails('SHAPE', /0 roots/));
  await assert.rejects(backward([3 as never], [null]), GradCacheError);
  await backward([root], [Tensor.from([1, 1])]);
  assert.deepEqual([...((await leaf.grad!.values()) as Float32Array)], [3, 3]);
  await assert.rejects(
    backward([leaf.exp().sum().mul(root.sum())], [null]).then(() => backward([root], [Tensor.from([1, 1])])),
    fails(['INPUT', 'OPERATOR']),
  );
});

test("a text encoder's graph serves one backward", async () => {
  const encoder = await textEncoder('float32');
  const { seed, ...chunk } = whole(encoder, tenTexts(1))[0]!;
  const { ticket } = await encoder.forwardChunk(chunk as never, { seed, retain: true });
  const graph = ticket.graph!.clone();
  const ones = () => call('aten::ones', [10, encoder.dimension]);
  await assert.rejects(encoder.backwardChunk(chunk as never, ticket, Tensor.from([1, 2])), fails('SHAPE'));
  await encoder.backwardChunk(chunk as never, ticket, ones());
  await assert.rejects(backward([graph], [ones()]), fails(['INPUT', 'OPERATOR']));
  await assert.rejects(
    encoder.backwardChunk(chunk as never, { seed, graph: null }, Tensor.from([1, 2])),
    fails('SHAPE'),
  );
  await assert.rejects(
    encoder.backwardChunk(chunk as never, { seed, graph: null }, call('aten::ones', [10, 3])),
    fails('SHAPE'),
  );
});

test('normalised representations that were changed in place are noticed before their backward', async () => {
  const encoder = await textEncoder('float32', { normalize: true });
  const { seed, ...chunk } = whole(encoder, tenTexts(1))[0]!;
  const { representations, ticket } = await encoder.forwardChunk(chunk as never, { seed, retain: true });
  call('aten::zero_', representations);
  await assert.rejects(
    encoder.backwardChunk(chunk as never, ticket, call('aten::ones', [10, encoder.dimension])),
    fails('INPUT', /changed in place/),
  );
});

test('chunks made by hand are checked', async () => {
  const encoder = await textEncoder('float32');
  const batch = tenTexts(1);
  for (const rows of [[10], [-1], [0, 99], []]) {
    const chunk = { batch, rows: Int32Array.from(rows), tokens: 5 };
    await assert.rejects(
      encoder.forwardChunk(chunk, { seed: 0 }),
      fails(['INPUT', 'SHAPE']),
      `rows ${rows.join()}`,
    );
  }
  const right = whole(encoder, batch)[0]!;
  for (const tokens of [1, right.tokens + 1, -1, NaN, 2 ** 33]) {
    await assert.rejects(
      encoder.forwardChunk({ ...right, tokens } as never, { seed: 0 }),
      fails(['INPUT', 'SHAPE']),
      `tokens ${tokens}`,
    );
  }
  for (const seed of [-1, 0.5, NaN, 'x', 2 ** 60]) {
    await assert.rejects(
      encoder.forwardChunk(right as never, { seed: seed as number }),
      fails('INPUT', /seed/),
    );
  }
});

test('a chunk of more tokens than 32 bits count is refused', async () => {
  const positions = 2 ** 20;
  const settings = { architecture: 'bert', vocabulary: 5, hidden: 2, layers: 1, heads: 1, intermediate: 2 };
  const more = { positions, types: 1, paddingToken: 0, positionsAfterPadding: false, normEpsilon: 1e-5 };
  const rest = {
    activation: 'gelu',
    hiddenDropout: 0,
    attentionDropout: 0,
    pooling: 'mean',
    modules: [],
  };
  const encoder = new (native().EncoderHandle)({ ...settings, ...more, ...rest }, 'float32', 'cpu', [], []);
  const text = await encoder.batch(new Int32Array(positions), Int32Array.of(0, positions));
  const rows = new Int32Array(2 ** 31 / positions);
  await assert.rejects(
    async () => encoder.forward(text, rows, 2 ** 31, 0, 'inference', 0),
    (error: { code?: string; message: string }) => error.code === 'INPUT' && /32 bits/.test(error.message),
  );
  encoder.dispose();
});

test('the native encoder refuses sizes that no memory holds before it makes anything of them', () => {
  const settings = {
    ...{
      architecture: 'mpnet',
      vocabulary: 5,
      hidden: 2,
      layers: 1,
      heads: 1,
      intermediate: 2,
      positions: 8,
    },
    ...{ paddingToken: 0, positionsAfterPadding: true, relativeBuckets: 4, normEpsilon: 1e-5 },
    activation: 'gelu',
    ...{ hiddenDropout: 0, attentionDropout: 0, pooling: 'mean', modules: [] },
  };
  const make = (changes: object) => () =>
    new (native().EncoderHandle)({ ...settings, ...changes }, 'float32', 'cpu', [], []).dispose();
  make({})();
  const dense = { kind: 'dense', name: 'd', inFeatures: 2, outFeatures: 2, bias: true, activation: 'tanh' };
  for (const changes of [
    ...['layers', 'hidden', 'vocabulary', 'positions', 'intermediate', 'relativeBuckets'].flatMap((key) =>
      [0, -1, 2 ** 40, 2 ** 62, Number.MAX_VALUE].map((size) => ({ [key]: size })),
    ),
    { layers: 5000 },
    { hidden: 2 ** 31, vocabulary: 2 ** 31, heads: 1 },
    { modules: Array.from({ length: 5000 }, () => dense) },
    { modules: [{ ...dense, outFeatures: -2 }] },
    { modules: [{ ...dense, inFeatures: 2 ** 40, outFeatures: 2 ** 40 }] },
  ]) {
    const start = process.cpuUsage();
    assert.throws(
      make(changes),
      ({ code }: { code?: string }) => code === 'CHECKPOINT' || code === 'OUT_OF_MEMORY',
      JSON.stringify(changes).slice(0, 80),
    );
    assert.ok(process.cpuUsage(start).user < 1e6);
  }
});

test('settings of the optimizer and of the process', async () => {
  const encoder = await textEncoder('float32');
  for (const options of [
    { lr: -1 },
    { lr: NaN },
    { lr: '1' },
    {},
    { lr: 1, betas: [1, 2] },
    { lr: 1, eps: -1 },
    { lr: 1, weightDecay: NaN },
    { lr: 1, maxGradNorm: 0 },
  ]) {
    assert.throws(
      () => new AdamW(encoder.parameters(), options as never),
      fails('INPUT'),
      JSON.stringify(options),
    );
  }
  assert.throws(() => new AdamW([] as never, { lr: 1 }), fails('INPUT'));
  await assert.rejects(async () => clipGradNorm(encoder.parameters(), NaN), fails('INPUT'));
  for (const count of [0, -1, 1.5, NaN, 1e9, '2'])
    assert.throws(() => threads(count as number), fails('INPUT'), String(count));
  assert.throws(() => withSeed(-1, () => 1), fails('INPUT'));
  assert.throws(() => withSeed(1, 3 as never), fails('INPUT'));
  assert.throws(() => useLibtorch('/nowhere'), fails('INPUT', /nowhere/));
});

test('a gradient that is not finite is refused by the optimizer, which then changes nothing', async () => {
  const encoder = await textEncoder('float32');
  const [first] = encoder.parameters();
  const before = await first!.tensor.values();
  call('aten::fill_.Scalar', first!.tensor.grad!, NaN).dispose();
  const optimizer = new AdamW(encoder.parameters(), { lr: 0.1, maxGradNorm: 1 });
  await assert.rejects(optimizer.step(), fails('NON_FINITE'));
  assert.deepEqual(await first!.tensor.values(), before);
});

test('configurations of an encoder from scratch', async () => {
  const tokenizer = await smallTokenizer(50);
  const config = {
    model_type: 'bert',
    vocab_size: 50,
    hidden_size: 12,
    num_hidden_layers: 1,
    num_attention_heads: 3,
    intermediate_size: 7,
  };
  TextEncoder.create(config, tokenizer).dispose();
  const changes: object[] = [
    { model_type: 'gpt2' },
    { model_type: undefined },
    { vocab_size: 0 },
    { vocab_size: 1e12 },
    { hidden_size: 13 },
    { hidden_size: -12 },
    { hidden_size: '12' },
    { num_hidden_layers: 0 },
    { num_hidden_layers: 1.5 },
    { num_attention_heads: 0 },
    { hidden_act: 'swish9' },
    { hidden_act: 3 },
    { hidden_dropout_prob: 1 },
    { hidden_dropout_prob: -0.1 },
    { hidden_dropout_prob: NaN },
    { max_position_embeddings: 0 },
    { type_vocab_size: 0 },
    { position_embedding_type: 'relative_key' },
    { is_decoder: true },
    { layer_norm_eps: 'x' },
  ];
  for (const change of changes) {
    const make = () => TextEncoder.create({ ...config, ...change }, tokenizer);
    assert.throws(make, fails(['CHECKPOINT', 'INPUT', 'OUT_OF_MEMORY', 'SHAPE']), JSON.stringify(change));
  }
  for (const options of [
    { precision: 'float16' },
    { precision: 3 },
    { dropout: 1 },
    { dropout: 0.999_995 },
    { dropout: -1 },
    { dropout: NaN },
    { device: 'tpu' },
    { maxLength: 0 },
    { maxLength: 1e9 },
    { pooling: 'sum' },
    { maxlength: 2 },
    null,
    { seed: -1 },
    { seed: 0.5 },
  ]) {
    assert.throws(
      () => TextEncoder.create(config, tokenizer, options as never),
      fails(['INPUT', 'DTYPE', 'DEVICE', 'CHECKPOINT']),
      JSON.stringify(options),
    );
  }
});

test('encode: prompts, chunk sizes, empty lists, aborts', async () => {
  const encoder = await textEncoder('float32');
  const texts = ['w1 w2', 'w3'];
  await assert.rejects(encoder.encode(texts, { prompt: 'query' }), fails('INPUT', /query/));
  for (const tokensPerChunk of [0, -1, 0.5, NaN])
    await assert.rejects(encoder.encode(texts, { tokensPerChunk }), fails('INPUT'));
  await assert.rejects(encoder.encode(texts, { signal: AbortSignal.abort() }), fails('ABORTED'));
  await assert.rejects(encoder.encode('w1' as never), fails('INPUT'));
  await assert.rejects(encoder.encode([3 as never]), fails('INPUT'));
  await assert.rejects(encoder.encode(null as never), fails('INPUT'));
  await assert.rejects(encoder.encode(['w1', '']), fails('INPUT', /1/));
  const long = await encoder.tokenize(['w1 '.repeat(100), 'w2']);
  assert.equal(long.truncated, 1);
  assert.equal(long.offsets[1], 40);
  assert.equal((await encoder.encode(['w1 '.repeat(100)])).shape[0], 1);
});

test('tidy keeps what it returns and frees the rest', () => {
  const outside: Tensor[] = [];
  const { kept } = tidy(() => {
    outside.push(Tensor.from([1]));
    return { kept: [Tensor.from([2]), tidy(() => Tensor.from([3]))] };
  });
  assert.equal(outside[0]!.disposed, true);
  assert.ok(kept.every((tensor) => !tensor.disposed));
});

test('a block that gives a thenable is refused, and the thenable is not started', async () => {
  let asked = 0;
  const query = { then: () => asked++ };
  assert.throws(() => tidy(() => query), fails('INPUT', /asynchronous/));
  await new Promise(setImmediate);
  assert.equal(asked, 0);
});

test('a tensor of what is no flat list of numbers is refused, and unknown options are', () => {
  const refused: [unknown, object, 'INPUT' | 'DTYPE', RegExp][] = [
    [[[1, 2]], {}, 'INPUT', /element 0 of the list is a list/],
    [[1, '2'], {}, 'INPUT', /element 1 of the list is string/],
    [[1, null], {}, 'INPUT', /element 1 of the list is null/],
    [Uint16Array.of(1, 300), { shape: [4] }, 'DTYPE', /Uint16Array/],
    [new DataView(new ArrayBuffer(8)), {}, 'DTYPE', /DataView/],
    [[1], { dtpye: 'int64' }, 'INPUT', /'dtpye'/],
  ];
  for (const [data, options, code, message] of refused)
    assert.throws(() => Tensor.from(data as never, options), fails(code, message));
});

test('withSeed leaves the generator as it was', () => {
  const draw = () => call('aten::randn', [4], { dtype: 'float64' });
  const whole = withSeed(9, () => [draw(), draw()]).map((drawn) => drawn.valuesSync());
  const nested = withSeed(9, () => [draw(), withSeed(5, draw), draw()]).map((drawn) => drawn.valuesSync());
  assert.notDeepEqual(whole[0], whole[1]);
  assert.deepEqual(nested, [whole[0], withSeed(5, draw).valuesSync(), whole[1]]);
});

test('weights decay, and biases and norms do not', async () => {
  const encoder = await textEncoder('float32');
  for (const { name, tensor, decay } of encoder.parameters())
    assert.equal(decay, tensor.shape.length === 2 && !/LayerNorm|bias/.test(name), name);
});

test('a learned temperature does not decay', () => {
  const [parameter] = infoNCE({ temperature: { initial: 0.1, learned: true } }).parameters();
  assert.equal(parameter?.decay, false);
});

test('both names of GELU with a tangent are that one', async () => {
  const representation = async (hidden_act: string) => {
    const config = { model_type: 'bert', hidden_act, vocab_size: 64, hidden_size: 16, num_hidden_layers: 1 };
    const rest = { num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 16 };
    const encoder = TextEncoder.create({ ...config, ...rest }, await smallTokenizer(64), { seed: 1 });
    return (await encoder.encode(['w1 w2 w3'])).values();
  };
  const [exact, one, other] = await Promise.all(
    ['gelu', 'gelu_new', 'gelu_pytorch_tanh'].map(representation),
  );
  assert.deepEqual(one, other);
  assert.notDeepEqual(exact, one);
});

test('MPNet needs buckets for distances in both directions', async () => {
  const config = { model_type: 'mpnet', vocab_size: 64, hidden_size: 16, num_hidden_layers: 1 };
  const rest = { num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 16 };
  const tokenizer = await smallTokenizer(64);
  for (const buckets of [1, 2, 3, 5]) {
    const given = { ...config, ...rest, relative_attention_num_buckets: buckets };
    assert.throws(() => TextEncoder.create(given, tokenizer), fails('CHECKPOINT', /even number from 4 up/));
  }
  const least = { ...config, ...rest, relative_attention_num_buckets: 4 };
  const encoder = TextEncoder.create(least, tokenizer);
  await encoder.encode(['w1 w2 w3 w4 w5 w6']);
});
