import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AcrossSegments,
  AdamW,
  alternating,
  exactGradients,
  ModuleSegmentModel,
  restartSchedule,
  syntheticGradients,
  type Across,
  type Segment,
  type SegmentModel,
} from '../../lib/index.js';
import { gradientsOf, movedModel, numbersOf, randomSegments, TinyLanguageModel } from './support.js';

const METHODS: Record<string, () => Across> = {
  none: () => 'none',
  exact: () => 'exact',
  perceptron: () => syntheticGradients({ noise: 0.5, auxiliary: 0.5 }),
  recurrent: () => syntheticGradients({ synthesiser: { kind: 'recurrent', hidden: 4 }, noise: 0.5 }),
  alternating: () => alternating({ restarts: { first: 2 } }),
  'alternating with exact': () => alternating({ restarts: { at: [1, 3] }, real: 'exact' }),
};

/** A stream of several steps, each of two segments; a document ends in each. */
const steps = Array.from({ length: 8 }, (_, step) =>
  randomSegments([3, 2], { seed: step + 1, ends: [[(step + 1) % 3], [step % 3]] }).map((segment) => ({
    ...segment,
    start: segment.start! + 5 * step,
  })),
);

interface Run {
  readonly module: TinyLanguageModel;
  readonly training: AcrossSegments;
  readonly optimizer: AdamW;
  readonly losses: number[];
}

function begin(across: Across): Run {
  const module = new TinyLanguageModel({ dropout: 0.2 });
  const training = new AcrossSegments(new ModuleSegmentModel(module), { across, seed: 3 });
  const optimizer = new AdamW(training.parameters(), { lr: 0.02 });
  return { module, training, optimizer, losses: [] };
}

async function go({ training, optimizer, losses }: Run, which: readonly Segment[][]): Promise<void> {
  for (const segments of which) {
    losses.push((await training.step(segments)).loss);
    await optimizer.step();
  }
}

const weights = ({ module }: Run) => numbersOf(module.parameters().map(({ tensor }) => tensor));

test('a run goes on from its state bit for bit', async () => {
  for (const [name, across] of Object.entries(METHODS)) {
    const whole = begin(across());
    await go(whole, steps);
    const first = begin(across());
    await go(first, steps.slice(0, 5));
    const second = begin(across());
    for (const [index, { tensor }] of second.module.parameters().entries())
      tensor.copyFrom(first.module.parameters()[index]!.tensor);
    second.optimizer.loadState(await first.optimizer.state());
    second.training.loadState(await first.training.state());
    assert.equal(second.training.position, 25);
    await go(second, steps.slice(5));
    assert.deepEqual([...first.losses, ...second.losses], whole.losses, name);
    assert.deepEqual(weights(second), weights(whole), name);
    assert.deepEqual(await second.training.state(), await whole.training.state(), name);
  }
});

test('a state that does not fit is refused, and nothing is changed', async () => {
  for (const [name, across] of Object.entries(METHODS)) {
    const run = begin(across());
    await go(run, steps.slice(0, 2));
    const state = await run.training.state();
    for (const key of state.keys()) {
      if (key === 'synthesiser.memory.0') continue; // there may be none
      const less = new Map(state);
      less.delete(key);
      assert.throws(() => run.training.loadState(less), { code: 'CHECKPOINT' }, `${name} without ${key}`);
      const other = new Map(state).set(key, { dtype: 'float64', shape: [7], bytes: new Uint8Array(56) });
      assert.throws(() => run.training.loadState(other), { code: 'CHECKPOINT' }, `${name}, another ${key}`);
    }
    for (const key of ['counts', 'synthesiser.calls'].filter((key) => state.has(key)))
      for (const number of [NaN, -1, 0.5]) {
        const { dtype, shape } = state.get(key)!;
        const bytes = new Uint8Array(Float64Array.from({ length: shape[0]! }, () => number).buffer);
        const odd = new Map(state).set(key, { dtype, shape, bytes });
        assert.throws(() => run.training.loadState(odd), { code: 'CHECKPOINT' }, `${name}, ${key} ${number}`);
      }
    const more = new Map(state).set('else', state.get('counts')!);
    assert.throws(() => run.training.loadState(more), { code: 'CHECKPOINT' });
    assert.throws(() => run.training.loadState({} as never), { code: 'INPUT' });
    // A state that was put together by hand: bytes, shape and type need not agree.
    for (const [key, tensor] of state)
      for (const odd of [
        { ...tensor, bytes: new Uint8Array(tensor.bytes.length + 1) },
        { ...tensor, bytes: new Uint8Array(0), shape: [...tensor.shape, 2] },
        { ...tensor, bytes: [...tensor.bytes] },
        { ...tensor, dtype: 'float31' },
        { ...tensor, shape: tensor.shape.length },
        null,
      ])
        assert.throws(() => run.training.loadState(new Map(state).set(key, odd as never)), {
          code: 'CHECKPOINT',
        });
    await assert.rejects(run.training.step(steps[2]!, { weight: 1e308 }), {
      code: 'INPUT',
      message: /weight of a step is 1e\+308/,
    });
    assert.deepEqual(await run.training.state(), state, name);
  }
});

test('a memory that does not fit is refused: a number, and one of other rows', async () => {
  const cell = { cell: 'sru++', vocabulary: 7, width: 12, layers: 2, projected: 4, memory: 4 } as const;
  using training = new AcrossSegments(movedModel(cell, 'float64'), { across: 'none' });
  await training.step(steps[0]!);
  const state = await training.state();
  assert.ok(state.has('memory.0'));
  for (const shape of [[], [7]]) {
    const bytes = new Uint8Array(8 * (shape[0] ?? 1));
    const other = new Map(state).set('memory.0', { dtype: 'float64', shape, bytes });
    assert.throws(() => training.loadState(other), {
      code: 'CHECKPOINT',
      message: /memory\.0 is \[7?\], not of/,
    });
  }
});

test('segments that do not fit are refused before anything runs', async () => {
  const [good, next] = randomSegments([3, 2]) as [Segment, Segment];
  const others = randomSegments([3], { rows: 2 });
  const cases: [code: string, segments: unknown, words: RegExp][] = [
    ['INPUT', [], /at least one segment/],
    ['INPUT', [good, { ...next, inputs: new Int32Array(), targets: new Int32Array() }], /segment 1 is empty/],
    ['INPUT', [next, good], /starts at token 3, but/],
    ['INPUT', [good, good], /segment 1 starts at token 0/],
    [
      'SHAPE',
      [good, ...others.map((segment) => ({ ...segment, start: 3 }))],
      /2 rows, the state before it 3/,
    ],
    ['SHAPE', [{ ...good, inputs: good.inputs.slice(1) }], /8 tokens, which 3 rows cannot share/],
    ['SHAPE', [{ ...good, targets: good.targets.slice(1) }], /9 tokens and 8 targets/],
    ['INPUT', [{ ...good, inputs: [1, 2, 3] }], /an Int32Array/],
    ['INPUT', [{ ...good, ends: [3] }], /ends of the segment\[0\] is 3/],
    ['INPUT', [{ ...good, rows: 0 }], /rows of the segment is 0/],
    ['INPUT', [{ ...good, end: [] }], /no option 'end'/],
    ['INPUT', [null], /options as an object/],
    ['INPUT', randomSegments([2], { silent: [0] }), /no target/],
  ];
  for (const [name, across] of Object.entries(METHODS)) {
    const model = new ModuleSegmentModel(new TinyLanguageModel());
    let runs = 0;
    const counted: SegmentModel = {
      device: 'cpu',
      parameters: () => model.parameters(),
      initialState: (rows) => model.initialState(rows),
      forwardSegment: (...given) => {
        runs++;
        return model.forwardSegment(...given);
      },
    };
    const training = new AcrossSegments(counted, { across: across() });
    for (const [code, segments, message] of cases)
      await assert.rejects(
        training.step(segments as Segment[]),
        { code, message },
        `${name} ${String(message)}`,
      );
    assert.equal(runs, 0);
    await training.step(good);
    await assert.rejects(training.step(good), { code: 'INPUT', message: /ended at 3/ });
    await assert.rejects(training.step(randomSegments([3], { rows: 2 })), { code: 'SHAPE' });
    training.reset();
    await training.step(randomSegments([3], { rows: 2 }));
  }
});

test('options that are none are refused', () => {
  const model = new ModuleSegmentModel(new TinyLanguageModel());
  const wrong: [code: string, make: () => unknown][] = [
    ['INPUT', () => new AcrossSegments(model, { across: 'real' as never })],
    ['INPUT', () => new AcrossSegments(model, {} as never)],
    ['INPUT', () => new AcrossSegments({} as never, { across: 'none' })],
    ['INPUT', () => new AcrossSegments(model, { across: 'none', sed: 1 } as never)],
    ['INPUT', () => new AcrossSegments(model, { across: { kind: 'exact', retain: 7 } as never })],
    ['INPUT', () => new AcrossSegments(model, { across: { kind: 'exact', keep: 7 } as never })],
    ['INPUT', () => new AcrossSegments(model, { across: { kind: 'synthetic', factor: '1' } as never })],
    ['INPUT', () => new AcrossSegments(model, { across: { kind: 'alternating' } as never })],
    ['INPUT', () => exactGradients({ retain: { chunks: 3 } as never })],
    ['INPUT', () => exactGradients({ retain: 'all' as never })],
    ['INPUT', () => syntheticGradients({ factor: -1 })],
    ['INPUT', () => syntheticGradients({ lr: 0 })],
    ['INPUT', () => syntheticGradients({ layers: 3 } as never)],
    ['INPUT', () => alternating({} as never)],
    ['INPUT', () => alternating({ restarts: { at: [3, 2] } })],
    ['INPUT', () => alternating({ restarts: { first: 0 } })],
    [
      'INPUT',
      () =>
        new AcrossSegments(model, { across: syntheticGradients({ synthesiser: { kind: 'mlp' } as never }) }),
    ],
    [
      'INPUT',
      () =>
        new AcrossSegments(model, {
          across: syntheticGradients({ synthesiser: { kind: 'recurrent', cell: 'rnn' as never } }),
        }),
    ],
    [
      'SHAPE',
      () => {
        const synthesiser = { width: 9, predictions: 1, predict: () => 0, parameters: () => [] };
        return new AcrossSegments(model, {
          across: syntheticGradients({ synthesiser: synthesiser as never }),
        });
      },
    ],
  ];
  for (const [code, make] of wrong) assert.throws(make, { code }, String(make));
});

test('bytes for graphs need a model that tells them, and are kept to', async () => {
  const model = new ModuleSegmentModel(new TinyLanguageModel());
  const exact = exactGradients({ retain: { bytes: 250 } });
  await assert.rejects(new AcrossSegments(model, { across: exact }).step(randomSegments([3, 3])), {
    code: 'INPUT',
  });
  const telling: SegmentModel = {
    device: 'cpu',
    parameters: () => model.parameters(),
    initialState: (rows) => model.initialState(rows),
    forwardSegment: (...given) => model.forwardSegment(...given),
    graphBytes: ({ inputs }) => 10 * inputs.length,
  };
  const { retained } = await new AcrossSegments(telling, { across: exact }).step(
    randomSegments([3, 3, 3, 3]),
  );
  assert.equal(retained, 2);
});

test('a step that fails leaves gradients, state and synthesiser as they were', async () => {
  for (const [name, across] of Object.entries(METHODS)) {
    const run = begin(across());
    await go(run, steps.slice(0, 2));
    const state = await run.training.state();
    await run.training.step(steps[2]!); // gradients that are not zero
    const gradients = gradientsOf(run.module);
    run.training.loadState(state);
    const failing = new AbortController();
    const bad: Segment[] = steps[2]!.map((segment, index) => ({
      ...segment,
      inputs: index === 1 ? segment.inputs.map(() => 99) : segment.inputs,
    }));
    await assert.rejects(run.training.step(bad), { code: 'OPERATOR' }, name);
    failing.abort();
    await assert.rejects(run.training.step(steps[2]!, { signal: failing.signal }), { code: 'ABORTED' });
    assert.deepEqual(gradientsOf(run.module), gradients, name);
    assert.deepEqual(await run.training.state(), state, name);
  }
});

test('a loss that is not finite, and a second pass that differs, are told', async () => {
  const module = new TinyLanguageModel();
  module.parameters()[0]!.tensor.copyFrom(module.parameters()[0]!.tensor.mul(NaN));
  const training = new AcrossSegments(new ModuleSegmentModel(module), { across: 'exact' });
  await assert.rejects(training.step(randomSegments([3, 3])), { code: 'NON_FINITE', message: /segment 0/ });
  const tiny = new TinyLanguageModel();
  let calls = 0;
  const moving = new ModuleSegmentModel({
    initialState: (rows) => tiny.initialState(rows),
    parameters: () => tiny.parameters(),
    forward: (segment, state) => {
      const result = tiny.forward(segment, state);
      return { loss: result.loss.mul(1 + calls++), state: result.state };
    },
  });
  await assert.rejects(new AcrossSegments(moving, { across: 'exact' }).step(randomSegments([3, 3])), {
    code: 'INPUT',
    message: /second pass/,
  });
});

test('only one step runs at a time, and none after the end', async () => {
  const { training } = begin('none');
  const running = training.step(steps[0]!);
  await assert.rejects(training.step(steps[1]!), { code: 'INPUT' });
  assert.throws(() => training.reset(), { code: 'INPUT' });
  assert.throws(() => training.dispose(), { code: 'INPUT' });
  await running;
  training.dispose();
  await assert.rejects(training.step(steps[1]!), { code: 'DISPOSED' });
});

test('alternation begins with real gradients and changes at each restart, and the synthesiser learns in both', async () => {
  for (const real of ['none', 'exact'] as const) {
    const run = begin(alternating({ restarts: { first: 2 }, real }));
    const gradients: string[] = [];
    const learnt: number[] = [];
    for (const segments of steps) {
      const result = await run.training.step(segments);
      gradients.push(result.gradients);
      learnt.push(result.synthesiser!.loss);
      await run.optimizer.step();
    }
    const [a, b] = [real, 'synthetic'];
    assert.deepEqual(gradients, [a, a, b, b, a, a, a, a]);
    assert.ok(learnt.every((loss) => loss > 0));
  }
});

test('real phases of alternation have the gradients of the real method', async () => {
  for (const real of ['none', 'exact'] as const) {
    const [alone, within] = [begin(real), begin(alternating({ restarts: { first: 8 }, real }))];
    await go(alone, steps);
    await go(within, steps);
    assert.deepEqual(weights(within), weights(alone));
  }
});

test('restarts double or follow a list, and the learning rate with them', () => {
  const doubling = restartSchedule({ lr: 1, restarts: { first: 5 } });
  const restarts = Array.from({ length: 100 }, (_, step) => step).filter((step) => doubling(step) === 1);
  assert.deepEqual(restarts, [0, 5, 10, 20, 40, 80]);
  assert.ok(Math.abs(doubling(15) - 0.5) < 1e-12);
  const listed = restartSchedule({ lr: 2, restarts: { at: [4, 10] }, final: 1 });
  assert.deepEqual(
    [0, 2, 4, 7, 10, 13, 16, 22].map((step) => Math.round(listed(step) * 1000) / 1000),
    [2, 1.5, 2, 1.5, 2, 1.5, 2, 2],
  );
});
