import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gradientCosines } from '../../bench/gpu/checks.js';
import { createEncoder, type Shape } from '../../bench/gpu/models.js';
import { device, mixedLengths, step, tokens } from './support.js';

const shapes: Record<string, Shape> = {
  'heads of 64': { hidden: 256, layers: 4, heads: 4, intermediate: 1024, vocabulary: 3000, positions: 512 },
  'heads of 32, MiniLM-L6': {
    hidden: 384,
    layers: 6,
    heads: 12,
    intermediate: 1536,
    vocabulary: 3000,
    positions: 512,
  },
  'heads of 12, which no kernel takes': {
    hidden: 96,
    layers: 2,
    heads: 8,
    intermediate: 256,
    vocabulary: 3000,
    positions: 512,
  },
};

for (const [title, shape] of Object.entries(shapes)) {
  test(`the bfloat16 gradient has the direction of the float32 one: ${title}`, async () => {
    const batches = [
      tokens(mixedLengths(64, 24), shape.vocabulary, 1),
      tokens(mixedLengths(64, 150), shape.vocabulary, 2),
    ];
    const low = await createEncoder(shape, { device, precision: 'bfloat16', dropout: 0, seed: 3 });
    const high = await createEncoder(shape, { device, precision: 'float32', dropout: 0, seed: 3 });
    for (const encoder of [low, high]) await step(encoder, batches, { chunk: { tokens: 1500 } });
    const { whole, layers } = await gradientCosines(low, high);
    assert.ok(whole >= 0.999, `whole model: cosine ${whole}`);
    for (const [layer, cosine] of Object.entries(layers)) {
      assert.ok(cosine >= 0.99, `${layer}: cosine ${cosine}`);
    }
    low.dispose();
    high.dispose();
  });
}
