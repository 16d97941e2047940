import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyCache, GradCache, infoNCE, memory } from '../../lib/index.js';
import { createEncoder, type Shape } from '../../bench/gpu/models.js';
import { device, mixedLengths, tokens } from './support.js';

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
  const first = await gradcache.step(batches);
  emptyCache(device);
  const { allocated, available } = memory(device);
  const second = await gradcache.step(batches);
  assert.ok(first.chunks > 4, `${first.chunks} chunks`);
  assert.ok(second.chunks < first.chunks, `${second.chunks} chunks after ${first.chunks}`);
  assert.equal(second.retries, 0);
  assert.ok(second.peakMemory - allocated <= 0.75 * available, `${second.peakMemory} of ${available}`);
  assert.ok(Math.abs(second.loss - first.loss) <= 1e-3 * first.loss, `${second.loss} after ${first.loss}`);
  assert.equal((await gradcache.step(batches)).chunks, second.chunks, 'the size stays');
  encoder.dispose();
});
