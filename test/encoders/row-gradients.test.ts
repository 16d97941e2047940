/** Gradients of the rows of a table that texts have are those of a dense gradient, bit for bit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AdamW,
  call,
  GradCache,
  infoNCE,
  TextEncoder,
  type CreateOptions,
  type TokenBatch,
} from '../../lib/index.js';
import { RowParameter } from '../../lib/tensor/row-parameter.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { device, tenTexts } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

const VOCABULARY = 97;
const WORDS = 'embeddings.word_embeddings.weight';
const tokenizer = await smallTokenizer(VOCABULARY);
const words = await smallTokenizer(VOCABULARY, { specialTokens: false });

const USUAL = {
  ...{ hidden_size: 24, max_position_embeddings: 40, num_hidden_layers: 1 },
  ...{ num_attention_heads: 3, intermediate_size: 40, pad_token_id: 0 },
};
const SIZES: Readonly<Record<string, object>> = {
  distilbert: { dim: 24, n_layers: 1, n_heads: 3, hidden_dim: 40, max_position_embeddings: 40 },
  t5: { d_model: 24, d_kv: 8, d_ff: 40, num_layers: 1, num_heads: 3 },
  sru: { hidden_size: 24, num_hidden_layers: 1 },
  static: { hidden_size: 24 },
};
/** Models that train the vector of the word 0 as any other. */
const WITHOUT_PADDING = ['t5', 'static'];

const create = (modelType: string, options: CreateOptions = {}): TextEncoder =>
  TextEncoder.create(
    { model_type: modelType, vocab_size: VOCABULARY, ...(SIZES[modelType] ?? USUAL) },
    modelType === 'static' ? words : tokenizer,
    { seed: 4, device, ...options },
  );

const cacheOf = (encoder: TextEncoder): GradCache =>
  new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 }, seed: 2 });

/** Texts of a few words each, with a padding token among them. */
const fewWords = (first: number): TokenBatch => ({
  ids: Int32Array.of(first, 0, first + 1, first + 2, first, first, first + 3, 0),
  offsets: Int32Array.of(0, 3, 5, 8),
  truncated: 0,
});

const tableOf = (encoder: TextEncoder): RowParameter => {
  const { tensor } = encoder.parameters().find(({ tensor: each }) => each instanceof RowParameter)!;
  return tensor as RowParameter;
};

async function gradientsOf(encoder: TextEncoder): Promise<Map<string, unknown>> {
  const all = new Map<string, unknown>();
  for (const { name, tensor } of encoder.parameters())
    all.set(name, await call('aten::to_dense', tensor.grad!).values());
  return all;
}

async function rowsOf(encoder: TextEncoder): Promise<number[]> {
  const gradient = tableOf(encoder).rowGradient()!;
  const rows = Array.from((await gradient.rows.values()) as BigInt64Array, Number);
  gradient.dispose();
  return rows;
}

for (const [modelType, precision] of [
  ['bert', 'float64'],
  ['bert', 'bfloat16'],
  ['distilbert', 'float32'],
  ['modernbert', 'float32'],
  ['t5', 'float32'],
  ['sru', 'float32'],
  ['static', 'float32'],
] as const)
  test(`gradients of rows are those of a dense table, over chunks and steps (${modelType}, ${precision})`, async () => {
    using dense = create(modelType, { precision });
    using sparse = create(modelType, { precision, embeddingGradients: 'rows' });
    for (const [index, batch] of [fewWords(20), tenTexts(1), fewWords(50)].entries()) {
      for (const encoder of [dense, sparse]) await cacheOf(encoder).step([batch, batch]);
      assert.deepEqual(await gradientsOf(sparse), await gradientsOf(dense), `step ${index}`);
      if (index > 0) continue;
      const padding = WITHOUT_PADDING.includes(modelType) ? [0] : [];
      assert.deepEqual(await rowsOf(sparse), [...padding, 20, 21, 22, 23]);
    }
    const [buffer, whole] = [sparse, dense].map((encoder) =>
      encoder
        .parameters()
        .filter(({ tensor }) => !(tensor instanceof RowParameter))
        .reduce((sum, { tensor }) => sum + tensor.size, 0),
    );
    assert.equal(whole! - buffer!, VOCABULARY * 24);
  });

test('a step that fails leaves the gradient of rows as it was, or none', async () => {
  using encoder = create('bert', { embeddingGradients: 'rows' });
  let chunk = 0;
  const failing = { onProgress: () => void assert.ok(++chunk < 12, 'enough') };
  const table = tableOf(encoder);
  await assert.rejects(cacheOf(encoder).step([tenTexts(1), tenTexts(2)], failing), /enough/);
  assert.equal(table.grad, null);
  await cacheOf(encoder).step([fewWords(7), fewWords(8)]);
  const before = await gradientsOf(encoder);
  chunk = 0;
  await assert.rejects(cacheOf(encoder).step([tenTexts(1), tenTexts(2)], failing), /enough/);
  assert.deepEqual(await gradientsOf(encoder), before);
  assert.ok((await rowsOf(encoder)).length < 9);
});

test('a gradient of rows is removed by zeroGrad, and not replaced', async () => {
  using encoder = create('bert', { embeddingGradients: 'rows' });
  using optimizer = new AdamW(encoder.parameters(), { lr: 0.1 });
  await cacheOf(encoder).step([fewWords(7), fewWords(8)]);
  const table = tableOf(encoder);
  using values = call('aten::to_dense', table.grad!);
  assert.throws(() => (table.grad = values), fails('INPUT', /cannot be replaced/));
  await optimizer.zeroGrad();
  assert.equal(table.grad, null);
});

test('a gradient of rows cannot be read while a backward adds to it', async () => {
  using encoder = create('bert', { embeddingGradients: 'rows' });
  const batch = tenTexts(1);
  const chunk = { batch, rows: Int32Array.from({ length: 10 }, (_, k) => k), tokens: batch.ids.length };
  const { representations, ticket } = await encoder.forwardChunk(chunk, { seed: 1 });
  const running = encoder.backwardChunk(chunk, ticket, representations);
  assert.throws(() => tableOf(encoder).grad, fails('INPUT', /a backward is adding/));
  await running;
  assert.ok(tableOf(encoder).grad !== null);
  representations.dispose();
});

test('tables that have no gradients of rows are refused', () => {
  const rows = { embeddingGradients: 'rows' } as const;
  assert.throws(
    () => create('bert', { ...rows, frozen: ['embeddings'] }),
    fails('INPUT', /embeddingGradients is "rows"; 'dense' for a model whose table/),
  );
  assert.throws(
    () => create('bert', { ...rows, pooling: 'splade' }),
    fails('INPUT', new RegExp(`'${WORDS.replaceAll('.', '\\.')}' is also the matrix .* 'dense' is needed`)),
  );
  assert.throws(
    () => create('bert', { embeddingGradients: 'sparse' as 'rows' }),
    fails('INPUT', /embeddingGradients is "sparse"/),
  );
});
