import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { devices, memory, Tensor } from '../../lib/index.js';
import { createEncoder, SHAPES } from '../../bench/gpu/models.js';
import { device } from './support.js';

test('the device of the tests is there', () => {
  assert.ok(
    devices().some((name) => name.startsWith(device)),
    devices().join(', '),
  );
});

test('a GPU that does not exist is a DEVICE error that says what there is', async () => {
  const missing = { code: 'DEVICE', message: /cuda:99/ };
  assert.throws(() => Tensor.from([1, 2], { device: 'cuda:99' }), missing);
  assert.throws(() => memory('cuda:99'), missing);
  await assert.rejects(
    createEncoder(SHAPES.tiny, { device: 'cuda:99', precision: 'float32', dropout: 0 }),
    missing,
  );
});

// Texts of different lengths ask the same kernels for different amounts of shared memory.
test('two worker threads train at once, each to the very gradients of a thread alone', async () => {
  const program = new URL('./training-worker.js', import.meta.url);
  const train = (seed: number, longest: number) =>
    new Promise<string>((resolve, reject) => {
      const worker = new Worker(program, { workerData: { device, seed, longest } });
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  const alone = [await train(1, 128), await train(2, 80)];
  assert.notEqual(alone[0], alone[1]);
  assert.deepEqual(await Promise.all([train(1, 128), train(2, 80)]), alone);
});
