import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyCache, GradCache, infoNCE, memory } from '../../lib/index.js';
import { createEncoder, type Shape } from '../../bench/gpu/models.js';
import { device, fill, mixedLengths, tokens } from './support.js';

const shape: Shape = {
  hidden: 256,
  layers: 4,
  heads: 4,
  intermediate: 1024,
  vocabulary: 2000,
  positions: 256,
};

test('an automatic chunk is measured in the first step, then fills its share of the free memory and no more', async () => {
  const encoder = await createEncoder(shape, { device, precision: 'bfloat16', dropout: 0, seed: 3 });
  const batches = [tokens(mixedLengths(4000, 40), 2000, 1), tokens(mixedLengths(4000, 120), 2000, 2)];
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE({ temperature: 0.05 }) });
  const taken = fill(3 * 2 ** 30, [2 ** 30, 2 ** 26]);
  const first = await gradcache.step(batches);
  emptyCache(device);
  const { allocated, available } = memory(device);
  const second = await gradcache.step(batches);
  const [{ tokens: size }] = gradcache.chunkSizes() as [{ tokens: number }];
  assert.ok(first.chunks > 8, `${first.chunks} chunks`);
  assert.ok(second.chunks < first.chunks, `${second.chunks} chunks after ${first.chunks}`);
  assert.ok(size > 32_768 && size < 262_144, `${size} tokens`);
  assert.equal(second.retries, 0);
  const share = (second.peakMemory - allocated) / available;
  assert.ok(share > 0.4 && share < 0.7, `${share} of what was free`);
  assert.ok(Math.abs(second.loss - first.loss) <= 1e-3 * first.loss, `${second.loss} after ${first.loss}`);
  assert.equal((await gradcache.step(batches)).chunks, second.chunks, 'the size stays');
  for (const tensor of taken) tensor.dispose();
  encoder.dispose();
  emptyCache(device);
});
