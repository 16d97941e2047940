import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  AdamW,
  call,
  emptyCache,
  memory,
  noGrad,
  synchronize,
  TextEncoder,
  tidy,
  withSeed,
  type LoadOptions,
  type LoraOptions,
} from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { gradientCosines } from '../../bench/gpu/checks.js';
import { device, gradients, mixedLengths, step, tokens } from './support.js';

const VOCABULARY = 30_000;
const CONFIG = {
  ...{ model_type: 'bert', vocab_size: VOCABULARY, hidden_size: 768, num_hidden_layers: 4 },
  ...{ num_attention_heads: 12, intermediate_size: 3072, max_position_embeddings: 512 },
};
const LORA: LoraOptions = { rank: 16, alpha: 32, targetModules: 'all-linear' };
let folder: string;

/** A folder that is removed with the value. */
async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'gradcache-adapters-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** One with a small random model. */
async function smallFolder(
  config: Readonly<Record<string, unknown>>,
): Promise<{ path: string } & AsyncDisposable> {
  const small = await temporaryFolder();
  using encoder = TextEncoder.create(config, await smallTokenizer(97), { seed: 4 });
  await encoder.save(small.path);
  return small;
}

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

/** Their matrices have room for adapters, and norms, gates and their gradients leave it behind their rows. */
const GATED = {
  qwen3: { model_type: 'qwen3', num_key_value_heads: 2 },
  gemma3: { model_type: 'gemma3_text', num_key_value_heads: 1, sliding_window: 6, sliding_window_pattern: 2 },
  modernbert: { model_type: 'modernbert', local_attention: 6, pad_token_id: 0 },
};

for (const [name, config] of Object.entries(GATED)) {
  for (const dropout of [0, 0.2]) {
    test(`adapters of ${name} have the gradients of the CPU, dropout ${dropout}`, async () => {
      const sizes = { vocab_size: 97, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4 };
      const more = { head_dim: 32, intermediate_size: 192, max_position_embeddings: 64 };
      await using base = await smallFolder({ ...sizes, ...more, ...config, initializer_range: 0.2 });
      await using adapted = await temporaryFolder();
      await saveAdapters(base.path, adapted.path, {
        ...{ rank: 5, alpha: 8, targetModules: 'all-linear', dropout },
      });
      const gradientsOn = async (where: string): Promise<Map<string, Float32Array | Float64Array>> => {
        using encoder = await TextEncoder.load(adapted.path, { device: where, dropout: 0 });
        const texts = [tokens(mixedLengths(12, 20), 97, 1), tokens(mixedLengths(12, 31), 97, 2)];
        await step(encoder, texts, { chunk: { tokens: 100 } });
        return await gradients(encoder);
      };
      const [here, there] = [await gradientsOn('cpu'), await gradientsOn(device)];
      assert.equal(there.size, here.size);
      for (const [parameter, expected] of here) {
        const got = there.get(parameter)!;
        const error = Math.hypot(...expected.map((value, k) => value - got[k]!)) / Math.hypot(...expected);
        assert.ok(error < 2e-4, `${parameter}: relative error ${error}`);
      }
    });
  }
}

for (const [name, config] of Object.entries(GATED)) {
  test(`adapters of ${name} in bfloat16 have the direction of float32, by kernels that leave them room`, async () => {
    const sizes = { vocab_size: 97, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 2 };
    const more = {
      head_dim: 64,
      intermediate_size: 256,
      max_position_embeddings: 64,
      initializer_range: 0.1,
    };
    await using base = await smallFolder({ ...sizes, ...more, ...config });
    await using adapted = await temporaryFolder();
    await saveAdapters(base.path, adapted.path, { rank: 8, alpha: 8, targetModules: 'all-linear' });
    const load = (precision: 'bfloat16' | 'float32') =>
      TextEncoder.load(adapted.path, { device, precision, dropout: 0 });
    using low = await load('bfloat16');
    using high = await load('float32');
    const texts = [tokens(mixedLengths(24, 20), 97, 1), tokens(mixedLengths(24, 31), 97, 2)];
    for (const encoder of [low, high]) await step(encoder, texts, { chunk: { tokens: 200 } });
    const { whole, layers } = await gradientCosines(low, high);
    assert.ok(whole >= 0.998, `whole model: cosine ${whole}`);
    for (const [layer, cosine] of Object.entries(layers))
      assert.ok(cosine >= 0.99, `${layer}: cosine ${cosine}`);
  });
}

/** Saves adapters that are not 0, as B is at first. */
async function saveAdapters(base: string, folder: string, lora: LoraOptions): Promise<void> {
  using encoder = await TextEncoder.load(base, { lora, seed: 3 });
  const parameters = encoder.parameters();
  withSeed(9, () =>
    noGrad(() =>
      tidy(() => {
        for (const { tensor } of parameters)
          call('aten::add_.Tensor', tensor, call('aten::randn', tensor.shape, { dtype: 'float32' }), {
            alpha: 0.1,
          });
      }),
    ),
  );
  await encoder.save(folder);
}
