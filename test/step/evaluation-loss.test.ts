import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  batchHardTriplet,
  call,
  coSENT,
  crossBatchMemory,
  GradCache,
  infoNCE,
  matryoshka,
  ModuleEncoder,
  Tensor,
  TextEncoder,
  type Loss,
} from '../../lib/index.js';
import { pairs, saveTinyModel, temporaryFolder } from '../training/support.js';

const gradients = async (gradcache: GradCache<never>): Promise<(number[] | null)[]> =>
  Promise.all(
    gradcache.parameters().map(async ({ tensor }) => {
      const { grad } = tensor;
      return grad === null ? null : Array.from((await grad.values()) as Float32Array);
    }),
  );

test('the loss of a batch in evaluation is that of a step without dropout, and nothing has changed', async (t) => {
  const folder = await saveTinyModel(join(await temporaryFolder(t), 'model'));
  const texts = pairs(10);
  const columns = [texts.map(({ anchor }) => anchor), texts.map(({ positive }) => positive)];
  const labels = texts.map((_, row) => row % 4);
  const learned = () => infoNCE({ temperature: { initial: 0.1, learned: true } });
  const mean: Loss = (first, second) => first.sub(second).mul(first).sum();
  for (const [name, loss, towers, given] of [
    ['infoNCE', learned(), 2, {}],
    ['coSENT', coSENT(), 2, { labels }],
    ['batchHardTriplet', batchHardTriplet(), 1, { labels }],
    ['a function', mean, 2, {}],
    ['a memory', crossBatchMemory(learned(), { capacity: 6 }), 2, {}],
    ['Matryoshka', matryoshka(infoNCE(), { dimensions: [16, 8, 4], dimensionsPerStep: 2 }), 2, {}],
  ] as const) {
    const [dropping, plain] = [
      await TextEncoder.load(folder),
      await TextEncoder.load(folder, { dropout: 0 }),
    ];
    const make = (encoder: TextEncoder) =>
      new GradCache<readonly TextEncoder[]>({
        encoders: Array<TextEncoder>(towers).fill(encoder),
        loss,
        chunk: { sequences: 4 },
        seed: 7,
      });
    const inputs = columns.slice(0, towers).map((column) => plain.tokenize(column));
    const gradcache = make(dropping);
    // A step first, so that there are gradients, and rows in memory.
    await gradcache.step(inputs, { loss: given, seed: 3 });
    const before = await gradients(gradcache as never);
    const held = 'size' in loss ? loss.size : 0;
    const value = await gradcache.lossOf(inputs, { loss: given });
    assert.equal(await gradcache.lossOf(inputs, { loss: given }), value, `${name}: twice`);
    assert.deepEqual(await gradients(gradcache as never), before, name);
    if ('size' in loss) assert.equal(loss.size, held, name);
    const { loss: ofStep } = await make(plain).step(inputs, { loss: given });
    assert.ok(Math.abs(value - ofStep) <= 1e-5 * Math.abs(ofStep), `${name}: ${value}, of a step ${ofStep}`);
    dropping.dispose();
    plain.dispose();
  }
});

test('masks of dropout of later steps are the same, whether a loss was evaluated before or not', async (t) => {
  const folder = await saveTinyModel(join(await temporaryFolder(t), 'model'));
  const texts = pairs(10);
  const losses = [];
  for (const evaluates of [false, true]) {
    const encoder = await TextEncoder.load(folder);
    const inputs = [texts.map(({ anchor }) => anchor), texts.map(({ positive }) => positive)].map((column) =>
      encoder.tokenize(column),
    );
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE(),
      chunk: { sequences: 4 },
    });
    const made = [(await gradcache.step(inputs)).loss];
    if (evaluates) await gradcache.lossOf(inputs);
    made.push((await gradcache.step(inputs)).loss);
    losses.push(made);
    encoder.dispose();
  }
  assert.deepEqual(losses[0], losses[1]);
});

test('an encoder of your own is told that it is evaluated', async () => {
  const weight = Tensor.from(Float64Array.of(1, 2, 3, 4), { shape: [2, 2] });
  weight.requiresGrad = true;
  const seen: unknown[] = [];
  const encoder = new ModuleEncoder({
    forward(rows: Tensor, mode?: { readonly training: boolean }) {
      seen.push(mode?.training);
      const made = rows.matmul(weight);
      return mode?.training === false ? made : made.dropout(0.5);
    },
    parameters: () => [{ name: 'weight', tensor: weight, decay: true }],
  });
  const rows = Tensor.from(Float64Array.of(1, 0, 0, 1, 1, 1), { shape: [3, 2] });
  const gradcache = new GradCache({
    encoders: [encoder],
    loss: (all: Tensor) => call<Tensor>('aten::abs', all).sum(),
  });
  assert.equal(await gradcache.lossOf([rows]), 20);
  assert.deepEqual(seen, [false]);
  assert.equal(weight.grad, null);
  await gradcache.step([rows]);
  assert.deepEqual(seen.slice(1), [true]);
});

test('wrong arguments, a step under way, and an abort', async (t) => {
  const folder = await saveTinyModel(join(await temporaryFolder(t), 'model'));
  const encoder = await TextEncoder.load(folder);
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: coSENT() });
  const inputs = [encoder.tokenize(['a', 'b']), encoder.tokenize(['c', 'd'])] as const;
  await assert.rejects(gradcache.lossOf(inputs, { seed: 1 } as never), {
    code: 'INPUT',
    message: /lossOf knows no option 'seed'/,
  });
  await assert.rejects(gradcache.lossOf([inputs[0]] as never), {
    code: 'INPUT',
    message: /1 inputs for 2 towers/,
  });
  await assert.rejects(gradcache.lossOf(inputs), { code: 'INPUT', message: /^The loss coSENT needs labels/ });
  await assert.rejects(gradcache.lossOf(inputs, { loss: { labels: [1, 2] }, signal: AbortSignal.abort() }), {
    code: 'ABORTED',
  });
  const step = gradcache.step(inputs, { loss: { labels: [1, 2] } });
  await assert.rejects(gradcache.lossOf(inputs, { loss: { labels: [1, 2] } }), {
    code: 'INPUT',
    message: /still running/,
  });
  await step;
  encoder.dispose();
});
