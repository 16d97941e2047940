import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { call, devices, GradCache, infoNCE, memory, noGrad, Tensor, withSeed } from '../../lib/index.js';
import { createEncoder, SHAPES } from '../../bench/gpu/models.js';
import { device, gradients, mixedLengths, step, tokens } from './support.js';

const onCpu = device === 'cpu' && 'it needs a GPU';
const gpus = onCpu ? ['cpu'] : devices().filter((name) => name.startsWith('cuda'));

test('the device of the tests is there', () => {
  assert.ok(
    devices().some((name) => name.startsWith(device)),
    devices().join(', '),
  );
});

test('a GPU that does not exist is a DEVICE error that says what there is', { skip: onCpu }, async () => {
  const missing = { code: 'DEVICE', message: /cuda:99/ };
  assert.throws(() => Tensor.from([1, 2], { device: 'cuda:99' }), missing);
  assert.throws(() => memory('cuda:99'), missing);
  await assert.rejects(
    createEncoder(SHAPES.tiny, { device: 'cuda:99', precision: 'float32', dropout: 0 }),
    missing,
  );
});

// The first GPU is the one that libtorch means where none is named.
test('on every GPU a seed draws the same numbers twice, and the generators go on as if it had not', async () => {
  for (const device of gpus) {
    const draw = () => noGrad(() => call('aten::randn', [16], { dtype: 'float32', device }));
    const values = async (run: () => Tensor[]) =>
      Promise.all(withSeed(9, run).map((drawn) => drawn.values() as Promise<Float32Array>));
    const [first, second] = await values(() => [draw(), draw()]);
    assert.notDeepEqual(first, second, device);
    const other = (await withSeed(5, draw).values()) as Float32Array;
    assert.deepEqual(await values(() => [draw(), withSeed(5, draw), draw()]), [first, other, second], device);
  }
});

test('on every GPU the same seed gives the same weights and, with dropout, the same step', async () => {
  for (const device of gpus) {
    const results = [];
    for (const seed of [3, 3, 4]) {
      const encoder = await createEncoder(SHAPES.tiny, { device, precision: 'bfloat16', dropout: 0.1, seed });
      const batches = [1, 2].map((k) => tokens(mixedLengths(20, 40), SHAPES.tiny.vocabulary, k));
      const { loss } = await step(encoder, batches, { chunk: { sequences: 6 } });
      results.push({ loss, gradients: await gradients(encoder) });
      encoder.dispose();
    }
    assert.deepEqual(results[1], results[0], device);
    assert.notEqual(results[2]!.loss, results[0]!.loss, device);
  }
});

test('on every GPU a loss by kernels has the same value and gradients', { skip: onCpu }, async () => {
  const drawn = (seed: number) =>
    withSeed(seed, () => call<Tensor>('aten::randn', [2100, 72], { dtype: 'float32', device: 'cpu' }));
  const results = [];
  for (const device of gpus) {
    const towers = [drawn(1), drawn(2)].map((tower) => tower.to({ device }));
    for (const precision of ['fast', 'exact'] as const) {
      const { loss, gradients } = await infoNCE({ precision, symmetric: true }).compute(towers, 1, {});
      const values = await Promise.all(gradients.map((gradient) => gradient!.values()));
      results.push({ device, precision, loss, values });
    }
  }
  const [fast, exact] = results;
  for (const result of results) {
    const first = result.precision === 'fast' ? fast! : exact!;
    assert.equal(result.loss, first.loss, result.device);
    assert.deepEqual(result.values, first.values, result.device);
  }
});

test(
  'towers on two devices are a DEVICE error, which leaves no gradient behind',
  { skip: onCpu },
  async () => {
    const options = { precision: 'float32', dropout: 0 } as const;
    const there = await createEncoder(SHAPES.tiny, { ...options, device: gpus.at(-1)! });
    const here = await createEncoder(SHAPES.tiny, { ...options, device: gpus.length > 1 ? gpus[0]! : 'cpu' });
    const batches = [1, 2].map((k) => tokens(mixedLengths(20, 40), SHAPES.tiny.vocabulary, k));
    const gradcache = new GradCache({ encoders: [there, here], loss: infoNCE(), chunk: { sequences: 6 } });
    await assert.rejects(gradcache.step(batches), { code: 'DEVICE', message: /tower 1 is on/ });
    for (const encoder of [there, here]) {
      for (const [name, values] of await gradients(encoder))
        assert.ok(
          values.every((v) => v === 0),
          name,
        );
      await step(encoder, batches);
      encoder.dispose();
    }
  },
);

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
