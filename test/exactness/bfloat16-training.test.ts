import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEncoder } from '../../bench/gpu/models.js';
import { AdamW, call, callAsync, GradCache, infoNCE, noGrad, type TextEncoder } from '../../lib/index.js';
import { largestDifference } from '../oracle/compare.js';
import { device, tenTexts, textEncoder, whole } from './support.js';

const batches = [tenTexts(1), tenTexts(2)];

/** Losses of steps on one batch, each followed by an update. */
async function train(precision: 'float32' | 'bfloat16', dropout: number): Promise<number[]> {
  // Heads of 32, for which CUDA has kernels that drop out the same elements in every precision.
  const shape = { hidden: 64, layers: 2, heads: 2, intermediate: 96, vocabulary: 97, positions: 40 };
  const encoder = await createEncoder(shape, { device, precision, dropout, seed: 3 });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.2 }),
    chunk: { sequences: 3 },
    seed: 11,
  });
  const optimizer = new AdamW(encoder.parameters(), { lr: 0.01 });
  const losses = [];
  for (let step = 0; step < 12; step++) {
    losses.push((await gradcache.step(batches)).loss);
    await optimizer.step();
  }
  encoder.dispose();
  optimizer.dispose();
  return losses;
}

for (const dropout of [0, 0.1]) {
  test(`in bfloat16 the loss falls as it does in float32: dropout ${dropout}`, async () => {
    const [high, low] = [await train('float32', dropout), await train('bfloat16', dropout)];
    assert.ok(high.at(-1)! < 0.5 * high[0]!, `float32: ${high.join(' ')}`);
    for (const [step, loss] of low.entries()) {
      assert.ok(Math.abs(loss - high[step]!) <= 0.03 * high[0]!, `step ${step}: ${loss}, ${high[step]}`);
    }
  });
}

/** Ways to write weights. Each must be seen by the next forward, although that computes with a copy in bfloat16. */
const writers: Record<string, (encoder: TextEncoder) => Promise<void>> = {
  'the optimizer': async (encoder) => {
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE(),
      chunk: { sequences: 4 },
    });
    await gradcache.step(batches);
    const optimizer = new AdamW(encoder.parameters(), { lr: 0.01 });
    await optimizer.step();
    optimizer.dispose();
  },
  'an operator in place': async (encoder) => {
    for (const { tensor } of encoder.parameters())
      noGrad(() => call('aten::mul_.Scalar', tensor, 1.25).dispose());
  },
  'an operator on a list, off the event loop': async (encoder) => {
    const weights = encoder.parameters().map(({ tensor }) => tensor);
    await callAsync('aten::_foreach_mul_.Scalar', weights, 1.25);
  },
  'a fused operator that takes the weights by name': async (encoder) => {
    const { tensor } = encoder.parameters()[0]!;
    const like = () => noGrad(() => call('aten::ones_like', tensor));
    noGrad(() =>
      call('aten::_fused_sgd_', [tensor], [like()], [like()], {
        weight_decay: 0,
        momentum: 0.9,
        lr: 0.5,
        dampening: 0,
        nesterov: false,
        maximize: false,
        is_first_step: true,
      }),
    );
  },
  'a view of a weight': async (encoder) => {
    for (const { tensor } of encoder.parameters())
      noGrad(() => call('aten::fill_.Scalar', call('aten::select.int', tensor, 0, 0), 0.3).dispose());
  },
  'a copy': async (encoder) => {
    for (const { tensor } of encoder.parameters())
      noGrad(() => call('aten::copy_', tensor, call('aten::rand_like', tensor)).dispose());
  },
};

for (const [way, write] of Object.entries(writers)) {
  test(`weights written by ${way} are those that bfloat16 computes with`, async () => {
    const encoder = await textEncoder('bfloat16');
    const { seed, ...chunk } = whole(encoder, batches[0])[0]!;
    const represent = async (one: TextEncoder) =>
      (await (
        await one.forwardChunk(chunk as never, { seed, retain: false })
      ).representations.values()) as Float32Array;
    const before = await represent(encoder);
    await write(encoder);
    const after = await represent(encoder);
    assert.ok(largestDifference(after, before) > 1e-2, 'the weights changed and the representations did not');
    const fresh = await textEncoder('bfloat16', { seed: 2 });
    for (const [k, { tensor }] of fresh.parameters().entries())
      noGrad(() => call('aten::copy_', tensor, encoder.parameters()[k]!.tensor).dispose());
    assert.deepEqual(await represent(fresh), after);
  });
}
