import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  AdamW,
  binaryCrossEntropy,
  CrossEncoder,
  crossEncoderRanking,
  GradCache,
  rankingPairs,
  TextEncoder,
  type NewCrossEncoderOptions,
  type TextPair,
} from '../../lib/index.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { smallTokenizer, writeFiles } from './small-model.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const tokenizer = await Tokenizer.fromJson(JSON.stringify(smallTokenizer()), {
  tokenizerClass: 'BertTokenizer',
});
const SMALL = { hidden_size: 12, num_hidden_layers: 2, num_attention_heads: 3, intermediate_size: 20 };
const CONFIG = { model_type: 'bert', vocab_size: 18, max_position_embeddings: 24, ...SMALL };
const PAIRS: TextPair[] = [
  ['the cat', 'the mat'],
  ['cat', 'sat on the mat'],
  ['the cat sat on the mat', 'query'],
  ['mat', 'mat'],
  ['on', 'the cats sat'],
];
const create = (options: NewCrossEncoderOptions = {}, config: object = CONFIG): CrossEncoder =>
  CrossEncoder.create({ ...CONFIG, ...config }, tokenizer, { seed: 4, device, ...options });

async function gradients(encoder: CrossEncoder): Promise<Map<string, unknown>> {
  const named = new Map<string, unknown>();
  for (const { name, tensor } of encoder.parameters()) named.set(name, await tensor.grad!.values());
  return named;
}

async function step(
  encoder: CrossEncoder,
  retain: 'last' | { bytes: number },
): Promise<Map<string, unknown>> {
  const loss = binaryCrossEntropy();
  const gradcache = new GradCache({ encoders: [encoder], loss, retain, chunk: { sequences: 2 }, seed: 2 });
  await gradcache.step([encoder.tokenize(PAIRS)], { loss: { labels: [1, 0, 1, 1, 0] } });
  return gradients(encoder);
}

test('which text comes first makes a difference, and so does the type of its tokens', async () => {
  using model = create();
  const [there, back, same] = await model.predict([
    ['the cat', 'the mat'],
    ['the mat', 'the cat'],
    ['the cat', 'the mat'],
  ]);
  assert.notEqual(there, back);
  assert.equal(there, same);
  const { types, offsets, ids } = await model.tokenize([PAIRS[0]!]);
  assert.deepEqual([...types!], [0, 0, 0, 0, 1, 1, 1]);
  assert.deepEqual([...offsets], [0, 7]);
  const untyped = await model.forwardChunk(
    { batch: { ids, offsets, truncated: 0 }, rows: Int32Array.of(0), tokens: 7 },
    { seed: 1 },
  );
  const typed = await model.forwardChunk(
    { batch: { ids, offsets, truncated: 0, types: types! }, rows: Int32Array.of(0), tokens: 7 },
    { seed: 1 },
  );
  assert.notDeepEqual(await untyped.representations.values(), await typed.representations.values());
});

test('scores do not depend on the chunks, and those of several labels come pair by pair', async () => {
  using model = create({ labels: 3, precision: 'float64' });
  const alone: number[] = [];
  for (const pair of PAIRS) alone.push(...(await model.predict([pair], { activation: 'softmax' })));
  const together = await model.predict(PAIRS, { activation: 'softmax', tokensPerChunk: 14 });
  assert.equal(together.length, 15);
  for (const [place, score] of together.entries()) assert.ok(Math.abs(score - alone[place]!) < 1e-12);
  for (let pair = 0; pair < 5; pair++)
    assert.ok(Math.abs([...together.slice(3 * pair, 3 * pair + 3)].reduce((a, b) => a + b) - 1) < 1e-12);
  assert.deepEqual(await model.predict([]), new Float64Array(0));
  assert.equal(model.activation, 'identity');
  await assert.rejects(model.rank('cat', ['mat']), { code: 'INPUT', message: /3 labels/ });
});

test('rank puts the best document first and keeps the order of equal ones', async () => {
  using model = create();
  const documents = ['the mat', 'cat', 'the mat', 'sat on', 'cat'];
  const scores = await model.predict(documents.map((document) => ['cat', document]));
  const ranked = await model.rank('cat', documents);
  assert.deepEqual(
    ranked.map(({ index }) => index),
    [...documents.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b),
  );
  for (const { index, score } of ranked) assert.equal(score, scores[index]);
  assert.deepEqual(await model.rank('cat', documents, { top: 2 }), ranked.slice(0, 2));
  assert.deepEqual(await model.rank('cat', []), []);
});

for (const [modelType, config] of [
  ['bert', {}],
  ['roberta', { pad_token_id: 0 }],
  ['electra', { embedding_size: 8 }],
  ['distilbert', { dim: 12, n_layers: 2, n_heads: 3, hidden_dim: 20 }],
] as const) {
  test(`${modelType}: both passes drop the same, in the head too`, async () => {
    const all = { model_type: modelType, ...config };
    using again = create({ dropout: 0.3 }, all);
    using kept = create({ dropout: 0.3 }, all);
    using none = create({ dropout: 0 }, all);
    const expected = await step(kept, { bytes: Infinity });
    assert.deepEqual(await step(again, { bytes: 0 }), expected);
    assert.notDeepEqual(await step(none, 'last'), expected);
    // Dropout in the head alone makes a difference as well.
    const head =
      modelType === 'distilbert' ? { dropout: 0, attention_dropout: 0, seq_classif_dropout: 0.5 } : null;
    const others = { hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, classifier_dropout: 0.5 };
    using dropping = create({}, { ...all, ...(head ?? others) });
    using whole = create({}, { ...all, ...(head ?? others) });
    const dropped = await step(dropping, { bytes: Infinity });
    assert.notDeepEqual(dropped, await step(none, 'last'));
    assert.deepEqual(await step(whole, { bytes: 0 }), dropped);
  });
}

test('bfloat16 gives the scores and gradients of float32 up to its rounding', async () => {
  using exact = create({ dropout: 0 });
  using rough = create({ dropout: 0, precision: 'bfloat16' });
  const [expected, found] = [await exact.predict(PAIRS), await rough.predict(PAIRS)];
  assert.ok(
    expected.every((score, place) => Math.abs(score - found[place]!) < 0.01),
    `${found.join()}`,
  );
  const slopes = await step(exact, 'last');
  for (const [name, gradient] of await step(rough, 'last')) {
    if (name.endsWith('key.bias')) continue; // zero but for rounding
    const ours = gradient as Float32Array;
    const exactly = slopes.get(name) as Float32Array;
    const apart = Math.hypot(...ours.map((value, k) => value - exactly[k]!));
    assert.ok(apart <= 0.1 * Math.hypot(...exactly) + 1e-5, `${name}: ${apart} of ${Math.hypot(...exactly)}`);
  }
});

test('a head alone can be trained, and all can be frozen', async () => {
  using head = create({ frozen: ['embeddings', 'encoder'] });
  const found = await step(head, 'last');
  assert.deepEqual([...found.keys()].sort(), [
    'classifier.bias',
    'classifier.weight',
    'pooler.dense.bias',
    'pooler.dense.weight',
  ]);
  using whole = create();
  const all = await step(whole, 'last');
  for (const [name, gradient] of found) assert.deepEqual(gradient, all.get(name));
  using body = create({ frozen: ['pooler', 'classifier', 'embeddings.token_type_embeddings'] });
  const rest = await step(body, 'last');
  for (const [name, gradient] of rest) assert.deepEqual(gradient, all.get(name));
  assert.equal(rest.size, all.size - 5);
  using frozen = create({ frozen: ['embeddings', 'encoder', 'pooler', 'classifier'] });
  assert.deepEqual(frozen.parameters(), []);
});

test('a ranking step learns to put positives first', async () => {
  using model = create({ dropout: 0 });
  using optimizer = new AdamW(model.parameters(), { lr: 0.003 });
  const gradcache = new GradCache({ encoders: [model], loss: crossEncoderRanking(), chunk: { tokens: 30 } });
  const columns = [
    ['the cat', 'the mat', 'sat on'],
    ['cat', 'mat', 'on'],
  ];
  const losses: number[] = [];
  for (let seed = 0; seed < 40; seed++) {
    const { pairs, lists } = rankingPairs(columns, { negatives: 'all', seed });
    losses.push((await gradcache.step([model.tokenize(pairs)], { loss: { lists } })).loss);
    await optimizer.step();
  }
  assert.ok(losses.at(-1)! < 0.8 * losses[0]!, `${losses[0]}, ${losses.at(-1)}`);
});

test('a new head begins with weights of its seed and keeps what the folder has', async (t) => {
  const folder = await temporaryFolder(t);
  using text = TextEncoder.create(CONFIG, tokenizer, { seed: 9 });
  await text.save(join(folder, 'text'));
  await assert.rejects(CrossEncoder.load(join(folder, 'text')), {
    code: 'CHECKPOINT',
    message: /SentenceTransformer, which has no head for pairs; give the option newHead/,
  });
  using first = await CrossEncoder.load(join(folder, 'text'), { newHead: { labels: 2, seed: 1 } });
  using same = await CrossEncoder.load(join(folder, 'text'), { newHead: { labels: 2, seed: 1 } });
  using other = await CrossEncoder.load(join(folder, 'text'), { newHead: { labels: 2, seed: 2 } });
  const scores = await first.predict(PAIRS);
  assert.deepEqual(await same.predict(PAIRS), scores);
  assert.notDeepEqual(await other.predict(PAIRS), scores);
  const weights = async (model: CrossEncoder | TextEncoder, name: string) =>
    model
      .parameters()
      .find((each) => each.name === name)!
      .tensor.values();
  const word = 'embeddings.word_embeddings.weight';
  assert.deepEqual(await weights(first, word), await weights(text, word));
  await first.save(join(folder, 'pairs'));
  using read = await CrossEncoder.load(join(folder, 'pairs'));
  assert.equal(read.labels, 2);
  assert.deepEqual(await read.predict(PAIRS), scores);
  // A pooler that is there stays; the last layer is new.
  using renewed = await CrossEncoder.load(join(folder, 'pairs'), { newHead: { seed: 5 } });
  assert.equal(renewed.labels, 1);
  assert.deepEqual(
    await weights(renewed, 'pooler.dense.weight'),
    await weights(first, 'pooler.dense.weight'),
  );
  await renewed.save(join(folder, 'pairs')); // over the other model
  using again = await CrossEncoder.load(join(folder, 'pairs'));
  assert.equal(again.labels, 1);
});

test('folders and options that do not fit are refused with what would do', async (t) => {
  const folder = await temporaryFolder(t);
  using model = create({ labels: 2 });
  const at = join(folder, 'model');
  await model.save(at);
  await assert.rejects(TextEncoder.load(at), {
    code: 'CHECKPOINT',
    message: /CrossEncoder.load reads it, .*--judge\.$/,
  });
  const refused = async (files: object, code: string, message: RegExp) => {
    await model.save(at);
    await writeFiles(at, files as Record<string, unknown>);
    await assert.rejects(CrossEncoder.load(at), { code, message });
  };
  const config = { ...CONFIG, id2label: { 0: 'a', 1: 'b', 2: 'c' } };
  await refused({ 'config.json': config }, 'CHECKPOINT', /classifier.weight \[2,12\], expected \[3,12\]/);
  await refused({ 'config.json': { ...config, id2label: 3 } }, 'CHECKPOINT', /id2label is 3/);
  await refused(
    { 'config_sentence_transformers.json': { model_type: 'CrossEncoder', activation_fn: 'my.Own' } },
    'CHECKPOINT',
    /activation_fn is "my.Own"; torch.nn.modules.activation.Sigmoid or /,
  );
  await refused(
    { 'sentence_bert_config.json': { transformer_task: 'text-generation' } },
    'CHECKPOINT',
    /Sequence classification alone/,
  );
  const type = 'sentence_transformers.models.Transformer';
  const two = [0, 1].map((idx) => ({ idx, path: '', type }));
  await refused({ 'modules.json': two }, 'CHECKPOINT', /supported is a Transformer alone/);
  const sru = { model_type: 'sru', vocab_size: 18, hidden_size: 8, num_hidden_layers: 1 };
  assert.throws(() => CrossEncoder.create(sru, tokenizer), {
    code: 'CHECKPOINT',
    message: /"sru" is not supported as a cross-encoder; bert,/,
  });
  const wrong = { labels: 0 };
  assert.throws(() => create(wrong), { code: 'INPUT', message: /labels is 0/ });
  assert.throws(() => create({ pooling: 'mean' } as never), { code: 'INPUT', message: /pooling/ });
  await assert.rejects(CrossEncoder.load(at, { newHead: { label: 1 } as never }), {
    code: 'INPUT',
    message: /did you mean labels/,
  });
  await assert.rejects(model.predict([['a']] as never), {
    code: 'INPUT',
    message: /pairs\[0\] is \["a"\]; a pair of texts/,
  });
  await assert.rejects(model.predict('ab' as never), { code: 'INPUT', message: /a list of pairs of texts/ });
  await assert.rejects(model.predict([], { activation: 'relu' as never }), {
    code: 'INPUT',
    message: /"softmax"/,
  });
  await assert.rejects(model.predict([], { softmax: true } as never), { code: 'INPUT', message: /softmax/ });
  await assert.rejects(model.tokenize([['a', 'b']], { maxLength: 4 }), {
    code: 'INPUT',
    message: /maxLength is 4; a whole number from 5 .*each text/,
  });
  const { ids, offsets, types } = await model.tokenize([['cat', 'mat']]);
  const pack = (kinds: Int32Array) => model.pack({ ids, offsets, truncated: 0, types: kinds });
  await assert.rejects(pack(types!.map(() => 2)), {
    code: 'INPUT',
    message: /token type 2 is not in the table of 2/,
  });
  await assert.rejects(pack(Int32Array.of(0)), { code: 'SHAPE', message: /1 types for/ });
  assert.throws(() => model.lengths({ ids, offsets, truncated: 0, types: [0] as never }), { code: 'INPUT' });
});
