import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GradCacheError } from '../../lib/index.js';
import {
  call,
  callAsync,
  GradCache,
  infoNCE,
  type Encoder,
  type StepProgress,
  type TokenBatch,
} from '../../lib/index.js';
import { textEncoder } from '../exactness/support.js';
import { fails } from './failures.js';
import { failing, good } from './failing-step.js';

const own = new Error('my own mistake');

test('an abort stops a step at every stage, before the next chunk, and leaves the gradients alone', async () => {
  const encoder = await textEncoder('float32', { dropout: 0.1 });
  const stages: string[] = [];
  await new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 } }).step(good, {
    onProgress: ({ phase, chunk }) => stages.push(`${phase} ${chunk}`),
  });
  assert.equal(stages.length, 8 + 1 + 8);
  for (const stage of stages.slice(0, -1)) {
    const controller = new AbortController();
    const after: string[] = [];
    const onProgress = ({ phase, chunk }: StepProgress) => {
      const here = `${phase} ${chunk}`;
      if (controller.signal.aborted) after.push(here);
      if (here === stage) controller.abort(own);
    };
    await failing(
      {},
      good,
      (error) => fails('ABORTED')(error) && (error as GradCacheError).cause === own,
      { signal: controller.signal, onProgress },
      encoder,
    );
    assert.deepEqual(after, [], `went on after the abort at ${stage}`);
  }
  await failing({}, good, fails('ABORTED'), { signal: AbortSignal.abort() }, encoder);
  await failing(
    { retain: { bytes: 1e9 } },
    good,
    fails('ABORTED'),
    { signal: AbortSignal.timeout(0) },
    encoder,
  ).catch(() => undefined);
});

test('an abort listener does not stay on a signal that outlives the steps', async () => {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 } });
  const { signal } = new AbortController();
  let listening = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => (listening++, add(...args));
  signal.removeEventListener = (...args: Parameters<typeof remove>) => (listening--, remove(...args));
  await gradcache.step(good, { signal });
  assert.equal(listening, 0);
});

test('an abort stops chunks whose graph was kept as soon as others', async () => {
  const encoder = await textEncoder('float32');
  const large = call('aten::ones', [1500, 1500]);
  let launched = 0;
  let done = 0;
  const towers: Encoder<TokenBatch> = {
    device: encoder.device,
    queues: true,
    automaticChunk: encoder.automaticChunk,
    lengths: (batch) => encoder.lengths(batch),
    truncated: (batch) => encoder.truncated(batch),
    graphBytes: (chunk) => encoder.graphBytes(chunk),
    parameters: () => encoder.parameters(),
    forwardChunk: (chunk, options) => encoder.forwardChunk(chunk, options),
    backwardChunk: async (chunk, ticket, gradients, group) => {
      // The engine is busy when the signal fires, with what stands before the third chunk in its queue.
      if (++launched === 3) void callAsync('aten::mm', large, large);
      await encoder.backwardChunk(chunk, ticket, gradients, group);
      done++;
    },
  };
  const chunk = { sequences: 1 };
  const gradcache = new GradCache({
    encoders: [towers, towers],
    loss: infoNCE(),
    chunk,
    retain: { bytes: 1e9 },
  });
  const abort = new AbortController();
  const step = gradcache.step(good, {
    signal: abort.signal,
    onProgress: (progress) => {
      if (progress.phase === 'backward' && progress.chunk === 2) abort.abort();
    },
  });
  await assert.rejects(step, fails('ABORTED'));
  assert.equal(done, 2);
  assert.ok(launched >= 5);
});
