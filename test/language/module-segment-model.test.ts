import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  ModuleSegmentModel,
  Tensor,
  type Segment,
  type SegmentModule,
  type State,
} from '../../lib/index.js';
import { numbersOf, TinyLanguageModel } from './support.js';

const segment: Segment = {
  rows: 2,
  inputs: Int32Array.of(1, 2, 3, 4, 5, 6),
  targets: Int32Array.of(2, 3, 4, -1, 6, 0),
};

const ones = (state: State) => state.map((slot) => call('aten::ones_like', slot));

async function gradients(module: SegmentModule, seeds: readonly (readonly [number, boolean])[]) {
  const model = new ModuleSegmentModel(module);
  const before = model.initialState(2);
  const carried: number[] = [];
  for (const [loss, state] of seeds) {
    const pass = await model.forwardSegment(segment, before, { seed: 3, graph: true });
    numbersOf(await pass.backward(loss, state ? ones(pass.after.state) : null)).forEach((value, index) => {
      carried[index] = (carried[index] ?? 0) + value;
    });
  }
  return [...carried, ...numbersOf(model.parameters().map(({ tensor }) => tensor.grad!))];
}

test('a backward with two seeds is the sum of two backwards with one each', async () => {
  const joint = await gradients(new TinyLanguageModel({ dropout: 0.3 }), [[0.5, true]]);
  const apart = await gradients(new TinyLanguageModel({ dropout: 0.3 }), [
    [0.5, false],
    [0, true],
  ]);
  assert.ok(joint.some((value) => Math.abs(value) > 1e-3));
  joint.forEach((value, index) => assert.ok(Math.abs(value - apart[index]!) < 1e-12));
});

test('a segment tells its loss, its targets and its state, the same with a graph and without', async () => {
  const model = new ModuleSegmentModel(new TinyLanguageModel({ dropout: 0.3 }));
  const before = model.initialState(2);
  const [plain, graph, other] = [
    await model.forwardSegment(segment, before, { seed: 3, graph: false }),
    await model.forwardSegment(segment, before, { seed: 3, graph: true }),
    await model.forwardSegment(segment, before, { seed: 4, graph: false }),
  ];
  assert.equal(plain.tokens, 5);
  assert.equal(plain.loss, graph.loss);
  assert.notEqual(plain.loss, other.loss);
  assert.deepEqual(numbersOf(plain.after.state), numbersOf(graph.after.state));
  await assert.rejects(plain.backward(1, null), { code: 'INPUT' });
  await graph.backward(1, null);
  await assert.rejects(graph.backward(1, null), { code: 'INPUT' });
});

test('a module that is none, and results of another form, are refused', async () => {
  assert.throws(() => new ModuleSegmentModel({} as SegmentModule), { code: 'INPUT' });
  const weight = Tensor.from([1]);
  weight.requiresGrad = true;
  const run = (forward: unknown, initialState: unknown = () => [Tensor.from([0, 0], { shape: [2, 1] })]) => {
    const parameters = () => [{ name: 'weight', tensor: weight, decay: false }];
    const model = new ModuleSegmentModel({ forward, initialState, parameters } as never);
    return model.forwardSegment(segment, model.initialState(2), { seed: 0, graph: true });
  };
  await assert.rejects(
    run(() => undefined),
    { code: 'INPUT' },
  );
  await assert.rejects(
    run(async () => Promise.resolve({})),
    { code: 'INPUT' },
  );
  await assert.rejects(
    run(() => ({ loss: weight.mul(1), state: 3 })),
    { code: 'INPUT' },
  );
  await assert.rejects(
    run(() => ({ loss: weight.mul(1), state: [] })),
    { code: 'SHAPE' },
  );
  assert.throws(() => run(undefined), { code: 'INPUT' });
  assert.throws(
    () =>
      run(
        () => undefined,
        () => [weight],
      ),
    { code: 'SHAPE' },
  );
  assert.throws(
    () =>
      run(
        () => undefined,
        () => weight,
      ),
    { code: 'INPUT' },
  );
});

test('a state that is handed on as it came has the gradient of what follows', async () => {
  const weight = Tensor.from([2]);
  weight.requiresGrad = true;
  const model = new ModuleSegmentModel({
    initialState: (rows) => [call('aten::zeros', [rows, 1])],
    forward: (_, state) => ({ loss: weight.sum(), state }),
    parameters: () => [{ name: 'weight', tensor: weight, decay: false }],
  });
  const before = model.initialState(2);
  const pass = await model.forwardSegment(segment, before, { seed: 0, graph: true });
  assert.deepEqual(numbersOf(await pass.backward(1, ones(before.state))), [1, 1]);
});
