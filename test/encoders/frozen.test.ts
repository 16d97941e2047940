import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdamW, GradCache, TextEncoder, infoNCE, type TextEncoderOptions } from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { tenTexts } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const tokenizer = await smallTokenizer(97);

const SIZES: Readonly<Record<string, object>> = {
  distilbert: { dim: 24, n_layers: 3, n_heads: 3, hidden_dim: 40 },
  sru: { hidden_size: 24, num_hidden_layers: 3, layer_norm: 'before' },
  srupp: { hidden_size: 24, num_hidden_layers: 3, attention_size: 8, layer_norm: 'after' },
};

const create = (modelType: string, options: TextEncoderOptions): TextEncoder => {
  const layers = { hidden_size: 24, num_hidden_layers: 3 };
  const config = {
    ...{ model_type: modelType, vocab_size: 97, max_position_embeddings: 40 },
    ...(SIZES[modelType] ?? { ...layers, num_attention_heads: 3, intermediate_size: 40 }),
  };
  return TextEncoder.create(config, tokenizer, { seed: 4, device, ...options });
};

/** The gradients of one cached step by name, with dropout under the seed. */
async function step(encoder: TextEncoder): Promise<Map<string, unknown>> {
  const loss = infoNCE({ temperature: 0.1 });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 4 }, seed: 2 });
  await gradcache.step([tenTexts(1), tenTexts(2)]);
  const named = new Map<string, unknown>();
  for (const { name, tensor } of encoder.parameters()) named.set(name, await tensor.grad!.values());
  return named;
}

const CASES: [string, string[]][] = [
  ['bert', ['embeddings']],
  ['bert', ['embeddings', 'encoder.layer.0', 'encoder.layer.1']],
  ['bert', ['embeddings.word_embeddings.weight', 'encoder.layer.1.output', 'encoder.layer.2.attention']],
  ['mpnet', ['embeddings', 'encoder.layer.0']],
  ['mpnet', ['encoder.relative_attention_bias', 'encoder.layer.2']],
  ['sru', ['embeddings', 'layers.0']],
  ['sru', ['layers.0.norm', 'layers.1.projection', 'layers.2.forget.weight', 'layers.2.reset.weight']],
  [
    'srupp',
    ['embeddings', 'layers.0.query', 'layers.0.alpha', 'layers.1.key_value', 'layers.2.attention_norm'],
  ],
  ['srupp', ['layers.0', 'layers.1.forget', 'layers.1.reset', 'layers.2.projection', 'layers.2.norm.bias']],
  ['distilbert', ['transformer.layer.0.ffn.lin1.weight', 'transformer.layer.1.sa_layer_norm.bias']],
];

for (const precision of ['float32', 'bfloat16'] as const) {
  test(`frozen parameters have no gradient, and those of the others stay the same (${precision})`, async () => {
    for (const [modelType, frozen] of CASES) {
      using whole = create(modelType, { precision });
      using some = create(modelType, { precision, frozen });
      const isFrozen = (name: string) => frozen.some((each) => name === each || name.startsWith(`${each}.`));
      const expected = await step(whole);
      for (const name of expected.keys()) if (isFrozen(name)) expected.delete(name);
      assert.deepEqual(await step(some), expected, frozen.join());
    }
  });
}

test('an optimizer leaves frozen parameters as they are, and the model is saved with them', async (t) => {
  using encoder = create('bert', { frozen: ['embeddings', 'encoder.layer.2'] });
  const optimizer = new AdamW(encoder.parameters(), { lr: 0.1, weightDecay: 0.1 });
  await step(encoder);
  await optimizer.step();
  const { mkdtemp, rm } = await import('node:fs/promises');
  const folder = await mkdtemp('/tmp/gradcache-frozen-');
  t.after(() => rm(folder, { recursive: true }));
  await encoder.save(folder);
  using saved = await TextEncoder.load(folder);
  using untouched = create('bert', {});
  const before = untouched.parameters();
  for (const [index, { name, tensor }] of saved.parameters().entries()) {
    const frozen = /^embeddings|^encoder\.layer\.2/.test(name);
    const [now, then] = [await tensor.values(), await before[index]!.tensor.values()];
    if (frozen) assert.deepEqual(now, then, name);
    else assert.notDeepEqual(now, then, name);
  }
});

test('a graph keeps nothing of the layers below the first that is trained', () => {
  const bytes = (frozen: string[]): number => {
    using encoder = create('bert', { frozen });
    const batch = tenTexts(1);
    return encoder.graphBytes({ batch, rows: Int32Array.of(0), tokens: batch.ids.length });
  };
  const [all, above, one] = [
    bytes([]),
    bytes(['embeddings']),
    bytes(['embeddings', 'encoder.layer.0', 'encoder.layer.1']),
  ];
  assert.ok(above < all && one < above / 2, `${all}, ${above}, ${one}`);
  assert.equal(bytes(['encoder.layer.1']), all);
});

for (const retain of ['last', 'auto'] as const) {
  test(`a tower of which all is frozen is encoded once, and the other's gradients stay the same (retain ${retain})`, async () => {
    const gradients = async (frozen: string[]): Promise<unknown> => {
      using queries = create('bert', { precision: 'float64' });
      using documents = create('distilbert', { precision: 'float64', frozen });
      const gradcache = new GradCache({
        encoders: [queries, documents],
        loss: infoNCE({ temperature: 0.1 }),
        chunk: { sequences: 4 },
        retain,
        seed: 2,
      });
      const chunks = { forward: 0, loss: 0, backward: 0 };
      const result = await gradcache.step([tenTexts(1), tenTexts(2)], {
        onProgress: ({ phase }) => chunks[phase]++,
      });
      assert.equal(documents.parameters().length === 0, frozen.length > 0);
      assert.deepEqual(chunks, { forward: 6, loss: 1, backward: frozen.length > 0 ? 3 : 6 });
      const grads = await Promise.all(queries.parameters().map(({ tensor }) => tensor.grad!.values()));
      return { loss: result.loss, grads };
    };
    assert.deepEqual(await gradients(['embeddings', 'transformer']), await gradients([]));
  });
}

test('a frozen encoder has no second pass: a chunk says so, keeps no graph, and its backward is refused', async () => {
  using encoder = create('bert', { frozen: ['embeddings', 'encoder'] });
  const batch = tenTexts(1);
  const chunk = { batch, rows: Int32Array.of(0, 1), tokens: batch.offsets[2]! };
  assert.equal(encoder.graphBytes(chunk), 0);
  const { representations, ticket, frozen } = await encoder.forwardChunk(chunk, { seed: 1, retain: true });
  assert.deepEqual({ frozen, graph: ticket.graph }, { frozen: true, graph: null });
  await assert.rejects(encoder.backwardChunk(chunk, ticket, representations), fails('INPUT', /frozen/));
  representations.dispose();
});

test('names of frozen parameters that are none, or that halve a matrix, are refused', () => {
  const key = 'encoder.layer.0.attention.self.key';
  const wrong: [unknown, RegExp][] = [
    [['embedding'], /frozen\[0\] is "embedding"/],
    [['embeddings', 'encoder.layer.3'], /frozen\[1\] is "encoder\.layer\.3"/],
    [[''], /frozen\[0\] is ""/],
    [[key], /both are frozen or neither/],
    ['embeddings', /frozen/],
    [[3], /frozen/],
  ];
  for (const [frozen, message] of wrong)
    assert.throws(() => create('bert', { frozen: frozen as string[] }), fails('INPUT', message));
});

test('a graph counts the output of the last frozen layer, which the layer behind keeps', () => {
  const batch = tenTexts(1);
  const floats = (frozen: string[]): number => {
    using encoder = create('bert', { frozen });
    const bytes = encoder.graphBytes({ batch, rows: Int32Array.of(0), tokens: batch.ids.length });
    return bytes / batch.ids.length / 4;
  };
  const layers = ['encoder.layer.0', 'encoder.layer.1'];
  const [one, two] = [layers.slice(0, 1), layers].map((frozen) => floats(['embeddings', ...frozen]));
  const layer = one! - two!;
  // The tape of the embeddings holds their output; beside it their sum, and 40 bytes a token.
  assert.ok(Math.abs(floats([]) - (one! + layer + 24 + 10)) < 1e-9);
});
