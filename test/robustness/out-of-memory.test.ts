import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  GradCache,
  GradCacheError,
  infoNCE,
  planChunks,
  type Chunk,
  type Encoder,
  type Parameter,
  type Tensor,
  type TextEncoder,
  type TokenBatch,
} from '../../lib/index.js';
import { assertSameGradients } from '../oracle/compare.js';
import { clear, gradients, tenTexts, textEncoder } from '../exactness/support.js';
import { fails } from './failures.js';

const batches = [tenTexts(1), tenTexts(2)] as const;
const outOfMemory = () => new GradCacheError('OUT_OF_MEMORY', 'as a device would say');

/** A text encoder on a device that has room for so many rows at a time; counts what was asked of it. */
function limited(encoder: TextEncoder, limit: () => number) {
  const asked = { forwards: 0, backwards: 0, mostBackwards: 0 };
  const wrapped: Encoder<TokenBatch> = {
    device: encoder.device,
    automaticChunk: encoder.automaticChunk,
    lengths: (batch) => encoder.lengths(batch),
    truncated: (batch) => encoder.truncated(batch),
    forwardChunk: async (chunk: Chunk<TokenBatch>, options) => {
      asked.forwards++;
      if (chunk.rows.length > limit()) throw outOfMemory();
      return encoder.forwardChunk(chunk, options);
    },
    backwardChunk: async (chunk, ticket, gradients, group) => {
      asked.mostBackwards = Math.max(asked.mostBackwards, ++asked.backwards);
      await encoder.backwardChunk(chunk, ticket, gradients, group);
      asked.backwards--;
    },
    graphBytes: (chunk) => encoder.graphBytes(chunk),
    parameters: () => encoder.parameters(),
  };
  return { wrapped, asked };
}

test('a chunk that does not fit into memory is halved, with the same result, and the half stays', async () => {
  const encoder = await textEncoder('float32');
  let room = 10;
  const { wrapped } = limited(encoder, () => room);
  const gradcache = new GradCache({
    encoders: [wrapped, wrapped],
    loss: infoNCE({ temperature: 0.3 }),
    chunk: { sequences: 10 },
  });
  const whole = await gradcache.step(batches);
  assert.deepEqual([whole.chunks, whole.retries], [2, 0]);
  const expected = await gradients([encoder]);
  clear([encoder]);
  room = 3;
  const halved = await gradcache.step(batches);
  assert.deepEqual([halved.chunks, halved.retries], [10, 2]);
  assert.deepEqual(gradcache.chunkSizes(), [{ sequences: 2 }, { sequences: 2 }]);
  assert.ok(Math.abs(whole.loss - halved.loss) < 1e-6);
  assertSameGradients(await gradients([encoder]), expected, 1e-5, 'halved');
  assert.equal((await gradcache.step(batches)).retries, 0);
});

for (const retain of [undefined, { bytes: Infinity }, { bytes: 1e12 }, 'auto'] as const) {
  test(`single rows that do not fit are an error, and leave the chunk size as it was: retain ${JSON.stringify(retain)}`, async () => {
    const encoder = await textEncoder('float32');
    let room = 0;
    const { wrapped, asked } = limited(encoder, () => room);
    const gradcache = new GradCache({
      encoders: [wrapped, wrapped],
      loss: infoNCE({ temperature: 0.3 }),
      chunk: { sequences: 8 },
      retain,
    });
    await assert.rejects(gradcache.step(batches), fails('OUT_OF_MEMORY', /chunks of one row/));
    assert.ok(asked.forwards < 100, `${asked.forwards} chunks were tried`);
    assert.deepEqual(gradcache.chunkSizes(), [{ sequences: 8 }, { sequences: 8 }]);
    room = 8;
    const next = await gradcache.step(batches);
    assert.deepEqual([next.chunks, next.retries], [4, 0]);
  });
}

test('a loss that does not fit is tried without a kept graph, not with ever smaller chunks', async () => {
  const encoder = await textEncoder('float32');
  let [calls, failures] = [0, 1];
  const loss = (anchors: Tensor, positives: Tensor): Tensor => {
    calls++;
    if (failures-- > 0) throw outOfMemory();
    return anchors.mul(positives).sum();
  };
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 3 } });
  const result = await gradcache.step(batches);
  assert.deepEqual([result.chunks, result.retained, result.retries, calls], [8, 0, 1, 2]);

  const other = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 3 } });
  [calls, failures] = [0, Infinity];
  const before = await gradients([encoder]);
  await assert.rejects(
    other.step(batches),
    fails('OUT_OF_MEMORY', /the loss over 20 representations.*in tiles/),
  );
  assert.equal(calls, 2);
  assert.deepEqual(await gradients([encoder]), before);
  failures = 0;
  const next = await other.step(batches);
  assert.deepEqual([next.chunks, next.retained, next.retries], [8, 1, 0]);
});

test('an encoder that does not queue is given one chunk at a time in the second pass', async () => {
  const encoder = await textEncoder('float32');
  const { wrapped, asked } = limited(encoder, () => Infinity);
  const chunk = { sequences: 2 };
  const gradcache = new GradCache({ encoders: [wrapped, wrapped], loss: infoNCE(), chunk });
  const { chunks } = await gradcache.step(batches);
  assert.equal(chunks, 2 * planChunks(encoder.lengths(batches[0]), chunk).length);
  assert.equal(asked.mostBackwards, 1);
});

test('where the gradients of earlier steps cannot be copied, no smaller chunk is tried', async () => {
  const encoder = await textEncoder('float32');
  const { wrapped, asked } = limited(encoder, () => 10);
  const [{ name, tensor, decay }] = encoder.parameters() as [Parameter];
  const own = tensor.detach();
  own.requiresGrad = true;
  Object.defineProperty(own, 'grad', {
    get() {
      const gradient = call('aten::ones_like', tensor);
      gradient.clone = () => {
        throw outOfMemory();
      };
      return gradient;
    },
  });
  const accumulating: Encoder<TokenBatch> = {
    ...wrapped,
    parameters: () => [...encoder.parameters().slice(1), { name, tensor: own, decay }],
  };
  const options = { loss: infoNCE({ temperature: 0.3 }), chunk: { sequences: 10 } };
  await new GradCache({ ...options, encoders: [encoder, encoder] }).step(batches);
  const gradcache = new GradCache({ ...options, encoders: [accumulating, accumulating] });
  await assert.rejects(gradcache.step(batches), fails('OUT_OF_MEMORY', /copy of the gradients.*zeroGrad/));
  assert.equal(asked.forwards, 0);
  assert.deepEqual(gradcache.chunkSizes(), [{ sequences: 10 }, { sequences: 10 }]);
});
