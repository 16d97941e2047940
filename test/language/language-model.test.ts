import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  AcrossSegments,
  AdamW,
  call,
  exactGradients,
  GradCacheError,
  LanguageModel,
  memory,
  noGrad,
  readSafetensors,
  resetPeakMemory,
  Tensor,
  writeSafetensors,
  type Carried,
  type NewLanguageModel,
  type Segment,
} from '../../lib/index.js';
import { cosine } from '../oracle/compare.js';
import { temporaryFolder } from '../training/support.js';
import { plainSegment } from './plain-language-model.js';
import { movedModel, numbersOf, randomSegments } from './support.js';

const SMALL = { vocabulary: 7, layers: 2, width: 8, projected: 4 } as const;
const [SEGMENT, NEXT] = randomSegments([6, 4]) as [Segment, Segment];

const gradients = (model: LanguageModel) => numbersOf(model.gradients());

/** A part of every row. */
function cut({ rows, inputs, targets }: Segment, begin: number, end: number): Segment {
  const length = inputs.length / rows;
  const of = (ids: Int32Array) =>
    Int32Array.from(
      Array.from({ length: rows }, (_, row) => [
        ...ids.slice(row * length + begin, row * length + end),
      ]).flat(),
    );
  return { rows, inputs: of(inputs), targets: of(targets), start: begin };
}

test('parameter counts are those of the published models', () => {
  const enwik8 = (width: number, projected: number): NewLanguageModel => ({
    vocabulary: 205,
    width,
    projected,
  });
  assert.equal(LanguageModel.parameterCount(enwik8(3072, 768)), 107_566_295);
  assert.equal(LanguageModel.parameterCount(enwik8(4096, 1024)), 190_607_575);
  assert.equal(LanguageModel.parameterCount(enwik8(6016, 752)), 194_993_815);
  // Only rounded numbers are published for these: 148, 234, 225 and 328 million.
  const adaptive = (settings: Partial<NewLanguageModel>) =>
    Math.round(
      LanguageModel.parameterCount({ vocabulary: 267_735, embedding: 1024, output: 'tied', ...settings }) /
        1e6,
    );
  const wiki103 = { cutoffs: [19_997, 39_997, 199_997] };
  assert.equal(adaptive({ ...wiki103, width: 3072, projected: 768 }), 148);
  assert.equal(adaptive({ ...wiki103, width: 5952, projected: 744 }), 234);
  assert.equal(adaptive({ ...wiki103, width: 5952, projected: 744, attentionEvery: 5 }), 225);
  const words = { vocabulary: 793_471, cutoffs: [59_998, 159_998], tiedProjections: false };
  assert.equal(adaptive({ ...words, width: 4096, projected: 1024 }), 328);
});

test('word vectors and softmax start uniform with a variance of 1 / columns', () => {
  using model = LanguageModel.create({ vocabulary: 500, layers: 1, width: 48 }, { seed: 1 });
  for (const { name, tensor } of model.parameters()) {
    if (!['embedding.weight', 'output.weight'].includes(name)) continue;
    const values = numbersOf([tensor]);
    const most = Math.max(...values.map(Math.abs));
    assert.ok(most <= Math.sqrt(3 / 48) && most > 0.99 * Math.sqrt(3 / 48), name);
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
    assert.ok(Math.abs(variance * 48 - 1) < 0.03, name);
  }
});

test('a second forward under the same seed has the same bits, one under another seed has not', async () => {
  for (const precision of ['float32', 'bfloat16'] as const) {
    for (const cell of ['sru++', 'qrnn', 'lstm'] as const) {
      const { projected, ...others } = SMALL;
      const dropped = { dropout: 0.3, wordDropout: 0.2, inputDropout: 0.2, outputDropout: 0.2 };
      const settings = { ...others, ...(cell === 'sru++' && { projected }), cell, ...dropped };
      using model = movedModel(settings, precision);
      const run = async (seed: number) => {
        const pass = await model.forwardSegment(SEGMENT, model.initialState(3), { seed, graph: true });
        await pass.backward(1, null);
        const result = { loss: pass.loss, state: numbersOf(pass.after.state), gradients: gradients(model) };
        await new AdamW(model.parameters(), { lr: 1 }).zeroGrad();
        return result;
      };
      const first = await run(1);
      assert.deepEqual(await run(1), first);
      assert.notDeepEqual((await run(2)).state, first.state);
    }
  }
});

test('segment by segment is the whole: exact gradients and log-likelihoods', async () => {
  for (const cell of ['sru', 'qrnn', 'lstm', 'gru'] as const) {
    using model = movedModel({ vocabulary: 7, layers: 2, width: 8, cell }, 'float64');
    const whole = new AcrossSegments(model, { across: 'none' });
    await whole.step([SEGMENT]);
    const expected = gradients(model);
    await new AdamW(model.parameters(), { lr: 1 }).zeroGrad();
    const parts = new AcrossSegments(model, { across: exactGradients() });
    await parts.step([cut(SEGMENT, 0, 2), cut(SEGMENT, 2, 5), cut(SEGMENT, 5, 6)]);
    const worst = Math.max(...gradients(model).map((value, k) => Math.abs(value - expected[k]!)));
    assert.ok(worst < 1e-12, `${cell}: ${worst}`);
  }
});

test('attention looks back over a window that slides across segments', async () => {
  using model = movedModel({ ...SMALL, window: 3 }, 'float64');
  const once = await model.logLikelihoods(SEGMENT, model.initialState(3));
  const parts: number[][] = [[], [], []];
  let before: Carried = model.initialState(3);
  for (const [begin, end] of [
    [0, 2],
    [2, 5],
    [5, 6],
  ] as const) {
    const { values, after } = await model.logLikelihoods(cut(SEGMENT, begin, end), before);
    for (const row of parts.keys())
      parts[row]!.push(...values.slice(row * (end - begin), (row + 1) * (end - begin)));
    before = after;
  }
  const worst = Math.max(...parts.flat().map((value, place) => Math.abs(value - once.values[place]!)));
  assert.ok(worst < 1e-12, String(worst));
  const all = await model.logLikelihoods(SEGMENT, model.initialState(3), { window: 100 });
  assert.notDeepEqual(all.values, once.values);
  assert.ok(all.values.every((value) => value < 0));
});

test('the memory of attention is what the layers read in the segment before', async () => {
  using model = movedModel({ ...SMALL, layers: 1 }, 'float64');
  const weights = new Map(model.parameters().map(({ name, tensor }) => [name, tensor]));
  const first = await model.forwardSegment(SEGMENT, model.initialState(3), { seed: 1, graph: false });
  const second = await model.forwardSegment(NEXT, first.after, { seed: 1, graph: false });
  const read = weights
    .get('embedding.weight')!
    .indexSelect(0, Tensor.from(SEGMENT.inputs, { shape: [18], dtype: 'int64' }))
    .reshape([3, 6, 8]);
  const plain = noGrad(() =>
    plainSegment({
      settings: model.settings,
      weights,
      segment: NEXT,
      state: first.after.state,
      memory: [read],
      seed: 1,
    }),
  );
  assert.ok(Math.abs(second.loss - plain.loss.item()) < 1e-10);
  // As many tokens are remembered as the second segment has.
  assert.deepEqual(
    second.after.memory.map(({ shape }) => shape),
    [[3, 4, 8], [3]],
  );
});

test('a document that ended is forgotten: its row goes on as if it began', async () => {
  using model = movedModel(SMALL, 'float64');
  const training = new AcrossSegments(model, { across: 'none' });
  await training.step([{ ...SEGMENT, ends: [1] }]);
  const { loss } = await training.step([NEXT]);
  const alone = async (row: number, ended: boolean) => {
    const of = (segment: Segment): Segment => {
      const length = segment.inputs.length / 3;
      const cut = (ids: Int32Array) => ids.slice(row * length, (row + 1) * length);
      return { rows: 1, inputs: cut(segment.inputs), targets: cut(segment.targets) };
    };
    const start = model.initialState(1);
    const first = await model.forwardSegment(of(SEGMENT), start, { seed: 0, graph: false });
    const second = await model.forwardSegment(of(NEXT), ended ? start : first.after, {
      seed: 0,
      graph: false,
    });
    return second.loss;
  };
  const sum = (await alone(0, false)) + (await alone(1, true)) + (await alone(2, false));
  assert.ok(Math.abs(loss * NEXT.targets.length - sum) < 1e-10 * sum);
});

test('a state of many layers is restored from a file in the order of its slots', async (t) => {
  const file = join(await temporaryFolder(t), 'state.safetensors');
  using model = movedModel({ ...SMALL, layers: 12 }, 'float64');
  const training = new AcrossSegments(model, { across: 'none' });
  await training.step([{ ...SEGMENT, ends: [2] }]);
  await writeSafetensors(file, await training.state());
  const resumed = new AcrossSegments(model, { across: 'none' });
  resumed.loadState(await readSafetensors(file));
  assert.equal((await resumed.step([NEXT])).loss, (await training.step([NEXT])).loss);
});

test('bfloat16 has the gradients of float32 but for rounding, and state and gradients in float32', async () => {
  const settings: NewLanguageModel = {
    ...{ ...SMALL, cutoffs: [4], divisor: 2, output: 'tied', sharedMasks: true, outputDropout: 0.2 },
    ...{ activationPenalty: 1, slownessPenalty: 1, adversarialNoise: 0.1 },
  };
  using exact = movedModel(settings, 'float32');
  using rough = movedModel(settings, 'bfloat16');
  for (const model of [exact, rough]) {
    const pass = await model.forwardSegment(SEGMENT, model.initialState(3), { seed: 1, graph: true });
    await pass.backward(1, null);
    assert.ok(pass.after.state.every(({ dtype }) => dtype === 'float32'));
    assert.ok(model.parameters().every(({ tensor }) => tensor.grad!.dtype === 'float32'));
  }
  const [a, b] = [gradients(exact), gradients(rough)];
  assert.ok(cosine(a, b) > 0.999, String(cosine(a, b)));
});

test('the softmax never holds the logits of all tokens', async () => {
  const vocabulary = 20_000;
  using model = LanguageModel.create({ vocabulary, layers: 1, width: 8, cell: 'sru' });
  const growth = async (tokens: number) => {
    const ids = Int32Array.from({ length: tokens }, (_, token) => (token * 7919) % vocabulary);
    const before = memory().allocated;
    resetPeakMemory();
    const segment = { rows: 1, inputs: ids, targets: ids };
    const pass = await model.forwardSegment(segment, model.initialState(1), { seed: 1, graph: true });
    await pass.backward(1, null);
    return memory().peak - before;
  };
  await growth(64);
  const [few, many] = [await growth(256), await growth(3000)];
  // All logits would take 240 MB in float32, and their gradient as much.
  assert.ok(many - few < 60e6, `${few} and ${many} bytes`);
});

test('refusals name what is wrong, before anything runs', async () => {
  using model = movedModel(SMALL, 'float32');
  const start = model.initialState(3);
  const options = { seed: 1, graph: true };
  const run = (segment: Partial<Segment>, before: Carried = start) =>
    model.forwardSegment({ ...SEGMENT, ...segment }, before, options);
  const state = (shape: readonly number[], dtype = 'float32') => ({
    state: [call('aten::zeros', shape, { dtype }), start.state[1]!],
    memory: start.memory,
  });
  const cases: [string, RegExp, () => Promise<unknown>][] = [
    ['INPUT', /empty/, () => run({ inputs: new Int32Array(), targets: new Int32Array() })],
    ['SHAPE', /18 tokens and 3 targets/, () => run({ targets: new Int32Array(3) })],
    [
      'INPUT',
      /token id 7 .*vocabulary of 7/,
      () => run({ inputs: SEGMENT.inputs.map((id, k) => (k === 4 ? 7 : id)) }),
    ],
    [
      'INPUT',
      /target 7 at place 4 .*vocabulary of 7/,
      () => run({ targets: SEGMENT.targets.map((id, k) => (k === 4 ? 7 : id)) }),
    ],
    ['INPUT', /target -2/, () => run({ targets: SEGMENT.targets.map(() => -2) })],
    ['SHAPE', /state\[0\] has shape \[2, 8\]/, () => run({}, state([2, 8]))],
    ['SHAPE', /state\[0\] has shape \[3, 9\]/, () => run({}, state([3, 9]))],
    ['DTYPE', /state\[0\] is float64, the model's is float32/, () => run({}, state([3, 8], 'float64'))],
    ['SHAPE', /state of 1 tensors/, () => run({}, { state: [start.state[0]!], memory: start.memory })],
    ['SHAPE', /memory/, () => run({}, { state: start.state, memory: [] })],
    ['INPUT', /prompt is empty/, () => model.generate(new Int32Array(), { tokens: 1 })],
    ['INPUT', /vocabulary of 7/, () => model.generate(Int32Array.of(9), { tokens: 1 })],
  ];
  for (const [code, message, refused] of cases) await assert.rejects(refused(), { code, message });

  const pass = await run({});
  await assert.rejects(pass.backward(1, [start.state[0]!]), { code: 'SHAPE', message: /state gradient/ });
  await pass.backward(1, null);
  await assert.rejects(pass.backward(1, null), { code: 'INPUT', message: /already used/ });
  const late = await run({});
  const optimizer = new AdamW(model.parameters(), { lr: 0.1 });
  await optimizer.step();
  await assert.rejects(late.backward(1, null), { code: 'INPUT', message: /weights were changed/ });
  const without = await model.forwardSegment(SEGMENT, start, { seed: 1, graph: false });
  await assert.rejects(without.backward(1, null), { code: 'INPUT', message: /graph: true/ });
});

test('a memory of layers or rows that do not fit together is refused', async () => {
  using model = LanguageModel.create(SMALL, { seed: 1 });
  const first = await model.logLikelihoods(SEGMENT, model.initialState(SEGMENT.rows));
  const { state, memory } = first.after;
  const [one, other, lengths] = memory as [Tensor, Tensor, Tensor];
  const rows = SEGMENT.rows;
  const counts = (value: number) => Tensor.from(new Int32Array(rows).fill(value), { shape: [rows] });
  const ask = (changed: readonly Tensor[]) =>
    model.logLikelihoods(NEXT, { state, memory: changed }).then(
      () => null,
      (error: unknown) => (error instanceof GradCacheError ? error.code : String(error)),
    );
  assert.equal(await ask([one, other, lengths]), null);
  assert.equal(await ask([one, other, counts(-1)]), 'INPUT');
  assert.equal(await ask([one, other, counts(one.shape[1]! + 1)]), 'INPUT');
  assert.equal(await ask([one, other.narrow(1, 1, other.shape[1]! - 1), lengths]), 'SHAPE');
});

test('what is disposed is told as such, and a pass outlives its model', async () => {
  const model = movedModel(SMALL, 'float32');
  const start = model.initialState(3);
  const pass = await model.forwardSegment(SEGMENT, start, { seed: 1, graph: true });
  const disposed = await model.forwardSegment(SEGMENT, start, { seed: 1, graph: true });
  disposed.dispose();
  disposed.dispose();
  await assert.rejects(disposed.backward(1, null), { code: 'DISPOSED' });
  model.dispose();
  model.dispose();
  await pass.backward(1, null);
  await assert.rejects(model.forwardSegment(SEGMENT, start, { seed: 1, graph: false }), { code: 'DISPOSED' });
  await assert.rejects(model.generate(Int32Array.of(1), { tokens: 1 }), { code: 'DISPOSED' });
  await assert.rejects(model.save('/nowhere/model'), { code: 'DISPOSED' });
});
