import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  AdamW,
  emptyCache,
  memory,
  synchronize,
  TextEncoder,
  type LoadOptions,
  type LoraOptions,
} from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { gradientCosines } from '../../bench/gpu/checks.js';
import { device, mixedLengths, step, tokens } from './support.js';

const VOCABULARY = 30_000;
const CONFIG = {
  ...{ model_type: 'bert', vocab_size: VOCABULARY, hidden_size: 768, num_hidden_layers: 4 },
  ...{ num_attention_heads: 12, intermediate_size: 3072, max_position_embeddings: 512 },
};
const LORA: LoraOptions = { rank: 16, alpha: 32, targetModules: 'all-linear' };
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradcache-adapters-'));
  using encoder = TextEncoder.create(CONFIG, await smallTokenizer(97), { seed: 4 });
  await encoder.save(folder);
});
after(() => rm(folder, { recursive: true }));

const batches = () => [
  tokens(mixedLengths(48, 24), VOCABULARY, 1),
  tokens(mixedLengths(48, 150), VOCABULARY, 2),
];

/** Bytes that a model keeps between steps, weights, gradients and the optimizer's state, and its numbers of weights. */
async function kept(options: LoadOptions): Promise<{ bytes: number; trained: number }> {
  await synchronize(device);
  emptyCache(device);
  const before = memory(device).allocated;
  using encoder = await TextEncoder.load(folder, { device, precision: 'bfloat16', seed: 1, ...options });
  const parameters = encoder.parameters();
  using optimizer = new AdamW(parameters, { lr: 1e-5 });
  await step(encoder, batches(), { chunk: { tokens: 1500 } });
  await optimizer.step();
  await synchronize(device);
  const count = parameters.map(({ tensor }) => tensor.shape.reduce((product, extent) => product * extent, 1));
  return { bytes: memory(device).allocated - before, trained: count.reduce((a, b) => a + b, 0) };
}

test('a trained weight costs 18 bytes in bfloat16, and a frozen one 2', async (t) => {
  const whole = await kept({});
  const all = whole.trained;
  const runs: [name: string, LoadOptions][] = [
    ['whole', {}],
    ['frozen embeddings', { frozen: ['embeddings'] }],
    ['LoRA of rank 16', { lora: LORA }],
  ];
  for (const [name, options] of runs) {
    const { bytes, trained } = await kept(options);
    const base = options.lora === undefined ? all : all + trained;
    const expected = 18 * trained + 2 * (base - trained);
    t.diagnostic(
      `${name}: ${trained} of ${base} weights are trained, ${(bytes / base).toFixed(2)} bytes each, expected ${(expected / base).toFixed(2)}`,
    );
    assert.ok(
      Math.abs(bytes - expected) < 0.03 * expected + 8e6,
      `${name}: ${bytes} bytes, expected ${expected}`,
    );
  }
});

test('the bfloat16 gradient of adapters has the direction of the float32 one', async () => {
  const lora = { ...LORA, dropout: 0.1 };
  const load = (precision: 'bfloat16' | 'float32') =>
    TextEncoder.load(folder, { device, precision, dropout: 0, seed: 3, lora });
  using low = await load('bfloat16');
  using high = await load('float32');
  // B begins with zeros, and with it the gradient of A: one update makes them differ.
  for (const encoder of [low, high]) {
    await step(encoder, batches(), { chunk: { tokens: 1500 } });
    using optimizer = new AdamW(encoder.parameters(), { lr: 1e-2 });
    await optimizer.step();
  }
  for (const [k, { tensor }] of low.parameters().entries()) tensor.copyFrom(high.parameters()[k]!.tensor);
  for (const encoder of [low, high]) await step(encoder, batches(), { chunk: { tokens: 1500 } });
  const { whole, layers } = await gradientCosines(low, high);
  assert.ok(whole >= 0.999, `whole model: cosine ${whole}`);
  for (const [layer, cosine] of Object.entries(layers))
    assert.ok(cosine >= 0.99, `${layer}: cosine ${cosine}`);
});
