import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyCache, GradCache, infoNCE, memory } from '../../lib/index.js';
import { createEncoder, type Shape } from '../../bench/gpu/models.js';
import { relativeError } from '../oracle/compare.js';
import { device, fill, gradients, mixedLengths, tokens } from './support.js';

const MIB = 2 ** 20;
const shape: Shape = {
  hidden: 256,
  layers: 4,
  heads: 4,
  intermediate: 1024,
  vocabulary: 2000,
  positions: 256,
};
const batches = [tokens(mixedLengths(2000, 40), 2000, 1), tokens(mixedLengths(2000, 120), 2000, 2)];
const CHUNK = 65_536;

async function encoderAndStep() {
  const encoder = await createEncoder(shape, { device, precision: 'bfloat16', dropout: 0, seed: 3 });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.05 }),
    chunk: { tokens: CHUNK },
  });
  return { encoder, gradcache };
}

test('a step that runs out of memory is taken again with half the chunk, and no gradient is lost or doubled', async () => {
  const plain = await encoderAndStep();
  const free = await plain.gradcache.step(batches);
  assert.equal(free.retries, 0);
  const expected = await gradients(plain.encoder);
  const inUse = memory(device).allocated;
  plain.encoder.dispose();

  const tight = await encoderAndStep();
  // Less than the chunk needed, more than a chunk of a fraction of it needs.
  const taken = fill(Math.round((free.peakMemory - inUse) * 0.6), [1024 * MIB, 64 * MIB]);
  const result = await tight.gradcache.step(batches);
  assert.ok(result.retries >= 1, `retries: ${result.retries}`);
  assert.ok(result.chunks > free.chunks);
  assert.ok(Math.abs(result.loss - free.loss) <= 1e-3 * free.loss, `${result.loss} for ${free.loss}`);
  for (const [name, gradient] of await gradients(tight.encoder)) {
    const wanted = expected.get(name)!;
    // A key's bias has no gradient but rounding.
    if (name.endsWith('key.bias')) continue;
    const error = relativeError(gradient, wanted);
    assert.ok(error <= 0.02, `${name}: relative error ${error}`);
  }
  // The smaller chunk stays.
  const next = await tight.gradcache.step(batches);
  assert.equal(next.retries, 0);
  assert.equal(next.chunks, result.chunks);
  for (const tensor of taken) tensor.dispose();
  tight.encoder.dispose();
  emptyCache(device);
});

test('memory that does not suffice for one sequence is an OUT_OF_MEMORY error, and the next step goes well', async () => {
  const { encoder, gradcache } = await encoderAndStep();
  await gradcache.step([tokens([5, 6], 2000, 1), tokens([7, 8], 2000, 2)]);
  const before = await gradients(encoder);
  emptyCache(device);
  const taken = fill(0, [1024 * MIB, 64 * MIB, 8 * MIB, 2 * MIB, MIB, MIB / 8, 4096, 512]);
  await assert.rejects(gradcache.step(batches), { code: 'OUT_OF_MEMORY' });
  for (const tensor of taken) tensor.dispose();
  emptyCache(device);
  assert.deepEqual(await gradients(encoder), before, 'gradients are as before the step');
  await gradcache.step([tokens([5, 6], 2000, 1), tokens([7, 8], 2000, 2)]);
  encoder.dispose();
});
