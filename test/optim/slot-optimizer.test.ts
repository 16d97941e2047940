import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdamW, callAsync, Tensor, type Parameter } from '../../lib/index.js';
import type { OptimizerParts } from '../../lib/optim/slot-optimizer-parts.js';
import { SlotOptimizer } from '../../lib/optim/slot-optimizer.js';
import { fails } from '../robustness/failures.js';

/** How many parameters each update was of. */
const updates: number[] = [];

/** Stochastic gradient descent with momentum: all that an optimizer has to bring. */
const momentum: OptimizerParts<'momentum' | 'step'> = {
  name: 'Momentum',
  state: { momentum: 'like', step: 'count' },
  update: async ({ parameters, gradients, state, lr, weightDecay }) => {
    updates.push(parameters.length);
    await callAsync('aten::_foreach_add_.Scalar', state.step, 1);
    await callAsync('aten::_foreach_mul_.Scalar', state.momentum, 0.9);
    await callAsync('aten::_foreach_add_.List', state.momentum, gradients);
    await callAsync('aten::_foreach_mul_.Scalar', parameters, 1 - lr * weightDecay);
    await callAsync('aten::_foreach_add_.List', parameters, state.momentum, { alpha: -lr });
  },
};

class Momentum extends SlotOptimizer<'momentum' | 'step'> {
  constructor(...[parameters, lr, maxGradNorm = Infinity]: [Given, number, number?]) {
    super(momentum, parameters, { lr, weightDecay: 0.5, maxGradNorm });
  }
}

type Given = ConstructorParameters<typeof SlotOptimizer>[1];

function parameter(name: string, values: readonly number[], decay = false): Parameter {
  const tensor = Tensor.from(Float64Array.from(values));
  tensor.requiresGrad = true;
  return { name, tensor, decay };
}

const give = ({ tensor }: Parameter, values: readonly number[]) => {
  tensor.grad = Tensor.from(Float64Array.from(values));
};
const numbers = async ({ tensor }: Parameter) => [...((await tensor.values()) as Float64Array)];

test('an optimizer of a few lines has groups, decay, clipping and a state that comes back from a checkpoint', async () => {
  const train = async (weights: [Parameter, Parameter, Parameter], stop: number, from = 0, state?: State) => {
    const [a, b, slow] = weights;
    const optimizer = new Momentum(
      [{ parameters: [a, b] }, { parameters: [slow], lrScale: 0.1, weightDecay: 0.25 }],
      0.1,
      2,
    );
    if (state !== undefined) optimizer.loadState(state);
    for (let step = from; step < stop; step++) {
      give(a, [1 + step, -2]);
      give(b, [0.5]);
      if (step > 0) give(slow, [3]);
      await optimizer.step();
      assert.deepEqual(
        [a, b].map(({ tensor }) => tensor.grad!.sum().item()),
        [0, 0],
        'gradients are cleared',
      );
    }
    return optimizer;
  };
  const start = (): [Parameter, Parameter, Parameter] => [
    parameter('a', [1, 2], true),
    parameter('b', [3]),
    parameter('a', [4], true),
  ];

  const whole = start();
  await train(whole, 3);
  assert.deepEqual(updates, [1, 1, 1, 1, 1, 1, 1, 1], 'one update for parameters with the same settings');
  // The same by hand: the norm of all gradients is cut to 2.
  const values = [1, 2, 3, 4];
  const momenta = [0, 0, 0, 0];
  const rates = [0.1, 0.1, 0.1, 0.01];
  const decays = [0.5, 0.5, 0, 0.25];
  for (let step = 0; step < 3; step++) {
    const gradients = [1 + step, -2, 0.5, ...(step > 0 ? [3] : [])];
    const norm = Math.hypot(...gradients);
    for (const [k, gradient] of gradients.entries()) {
      momenta[k] = 0.9 * momenta[k]! + gradient * Math.min(1, 2 / (norm + 1e-6));
      values[k] = values[k]! * (1 - rates[k]! * decays[k]!) - rates[k]! * momenta[k];
    }
  }
  const trained = (await Promise.all(whole.map(numbers))).flat();
  for (const [k, value] of trained.entries())
    assert.ok(Math.abs(value - values[k]!) < 1e-12, `${value}, ${values[k]}`);

  const halfway = start();
  const first = await train(halfway, 2);
  const state = await first.state();
  const names = ['momentum.a', 'step.a', 'momentum.b', 'step.b', 'momentum.a#2', 'step.a#2'];
  assert.deepEqual([...state.keys()], names);
  await train(halfway, 3, 2, state);
  assert.deepEqual((await Promise.all(halfway.map(numbers))).flat(), trained);

  for (const name of names) {
    const copy = new Map(state);
    copy.delete(name);
    assert.throws(() => first.loadState(copy), {
      code: 'CHECKPOINT',
      message: new RegExp(`${name} is missing`),
    });
  }
  assert.throws(() => new Momentum([], 0.1), { code: 'INPUT', message: 'Momentum was given no parameters.' });
  first.dispose();
  await assert.rejects(first.step(), { code: 'DISPOSED', message: /this Momentum was disposed/ });
});

type State = Awaited<ReturnType<Momentum['state']>>;

test('an update and the taking of state end with the rate and the state that they began with', async () => {
  const weights = () => [parameter('a', [1, 2]), parameter('b', [3])] as const;
  const groups = ([a, b]: ReturnType<typeof weights>) => [
    { parameters: [a] },
    { parameters: [b], lrScale: 2 },
  ];
  const twice = async (disturb: (optimizer: AdamW) => void) => {
    const both = weights();
    const optimizer = new AdamW(groups(both), { lr: 0.1 });
    for (const disturbed of [false, true]) {
      for (const weight of both)
        give(weight, disturbed ? [1, -2].slice(0, weight.tensor.size) : [4, 5].slice(0, weight.tensor.size));
      const update = optimizer.step();
      if (disturbed) disturb(optimizer);
      await update;
    }
    return [...(await numbers(both[0])), ...(await numbers(both[1]))];
  };
  const expected = await twice(() => undefined);
  const cases: ((optimizer: AdamW) => void)[] = [
    (optimizer) => (optimizer.lr = NaN),
    (optimizer) => optimizer.dispose(),
    (optimizer) => assert.throws(() => optimizer.loadState(new Map()), fails('INPUT', /still running/)),
  ];
  for (const disturb of cases) assert.deepEqual(await twice(disturb), expected, String(disturb));

  const both = weights();
  for (const weight of both) give(weight, [1, 1].slice(0, weight.tensor.size));
  const optimizer = new AdamW(groups(both), { lr: 0.1 });
  await optimizer.step();
  const whole = await optimizer.state();
  const taken = optimizer.state();
  assert.throws(() => optimizer.loadState(whole), fails('INPUT', /still running/));
  optimizer.dispose();
  assert.deepEqual(await taken, whole);
});

test('an optimizer that was disposed has no state to give, and takes none', async () => {
  const weight = parameter('a', [1]);
  give(weight, [1]);
  const optimizer = new AdamW([weight], { lr: 0.1 });
  await optimizer.step();
  const state = await optimizer.state();
  optimizer.dispose();
  await assert.rejects(optimizer.state(), fails('DISPOSED'));
  assert.throws(() => optimizer.loadState(state), fails('DISPOSED'));
  await assert.rejects(optimizer.step(), fails('DISPOSED'));
});
