import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gradientCosines } from '../../bench/gpu/checks.js';
import { createEncoder, type ModelOptions, type Shape } from '../../bench/gpu/models.js';
import { device, gradients, mixedLengths, step, tokens } from './support.js';

const shape: Shape = {
  hidden: 256,
  layers: 3,
  heads: 4,
  intermediate: 1024,
  vocabulary: 3000,
  positions: 512,
};
const batches = [
  tokens(mixedLengths(64, 24), shape.vocabulary, 1),
  tokens(mixedLengths(64, 100), shape.vocabulary, 2),
];
const skip = device === 'cpu';

const encoderIn = (precision: ModelOptions['precision']) =>
  createEncoder(shape, { device, precision, dropout: 0, seed: 3 });

test('products in tf32 are rounded, and the gradient keeps its direction', { skip }, async () => {
  const rounded = await encoderIn('tf32');
  const exact = await encoderIn('float32');
  for (const encoder of [rounded, exact]) await step(encoder, batches, { chunk: { tokens: 1500 } });
  const { whole, layers } = await gradientCosines(rounded, exact);
  assert.ok(whole > 0.99999, `whole model: cosine ${whole}`);
  for (const [layer, cosine] of Object.entries(layers)) assert.ok(cosine > 0.9999, `${layer}: ${cosine}`);
  const [a, b] = [await gradients(rounded), await gradients(exact)];
  const different = [...a].filter(([name, values]) => values.some((value, k) => value !== b.get(name)![k]));
  assert.ok(different.length > a.size / 2, 'matrices were multiplied as in float32');
  rounded.dispose();
  exact.dispose();
});

test('float32 stays as it is, beside an encoder in tf32 and behind it', { skip }, async () => {
  const gradientsOf = async (beside: readonly Promise<unknown>[]) => {
    const encoder = await encoderIn('float32');
    await Promise.all([step(encoder, batches, { chunk: { tokens: 700 } }), ...beside]);
    const all = await gradients(encoder);
    encoder.dispose();
    return all;
  };
  const alone = await gradientsOf([]);
  const rounded = await encoderIn('tf32');
  assert.deepEqual(await gradientsOf([step(rounded, batches, { chunk: { tokens: 700 } })]), alone);
  rounded.dispose();
  assert.deepEqual(await gradientsOf([]), alone);
});
