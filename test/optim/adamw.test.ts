import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GradCacheError } from '../../lib/errors.js';
import { AdamW } from '../../lib/optim/adamw.js';
import { RAdam } from '../../lib/optim/radam.js';
import { call } from '../../lib/tensor/operators.js';
import { clipGradNorm } from '../../lib/optim/clip.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import type { DType, Parameter } from '../../lib/tensor/tensor.js';

interface GoldenCase {
  readonly optimizer: 'AdamW' | 'RAdam';
  readonly name: string;
  readonly dtype: 'float32' | 'float64';
  readonly lr: number;
  readonly weightDecay: number;
  readonly maxGradNorm: number | null;
  readonly betas: [number, number];
  readonly eps: number;
  readonly start: number[][];
  readonly steps: { gradients: (number[] | null)[]; norm: number; parameters: number[][] }[];
}

// The tests run from dist; what is not compiled stays in the source tree.
const golden = JSON.parse(
  readFileSync(new URL('../../../test/optim/fixtures/golden.json', import.meta.url), 'utf8'),
) as {
  cases: GoldenCase[];
};
const SHAPES = [[3, 4], [5]];

function tensor(values: number[], shape: number[], dtype: DType = 'float32'): Tensor {
  return Tensor.from(Float64Array.from(values), { shape, dtype });
}

function parameter(
  name: string,
  values: number[],
  options: { decay?: boolean; dtype?: DType; shape?: number[] } = {},
): Parameter {
  const { decay = true, dtype = 'float32', shape = [values.length] } = options;
  const made = tensor(values, shape, dtype);
  made.requiresGrad = true;
  return { name, tensor: made, decay };
}

function setGradient({ tensor: leaf }: Parameter, values: number[] | null): void {
  leaf.grad = values === null ? null : tensor(values, leaf.shape, leaf.dtype);
}

function numbers(from: Tensor): number[] {
  return Array.from(from.valuesSync() as Float64Array, Number);
}

function closeTo(actual: number[], expected: number[], tolerance: number): void {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, index) => {
    const wanted = expected[index]!;
    assert.ok(
      Math.abs(value - wanted) <= tolerance * Math.max(1, Math.abs(wanted)),
      `[${index}]: ${value} is not ${wanted}`,
    );
  });
}

for (const golden_ of golden.cases) {
  test(`${golden_.optimizer} updates as torch.optim.${golden_.optimizer} does: ${golden_.name}`, async () => {
    const { dtype, betas, eps, lr, weightDecay, maxGradNorm } = golden_;
    const weight = parameter('weight', golden_.start[0]!, { shape: SHAPES[0]!, dtype });
    const bias = parameter('bias', golden_.start[1]!, { decay: false, dtype });
    const Optimizer = { AdamW, RAdam }[golden_.optimizer];
    const optimizer = new Optimizer([{ parameters: [weight] }, { parameters: [bias], lrScale: 0.5 }], {
      lr,
      betas,
      eps,
      weightDecay,
      maxGradNorm: maxGradNorm ?? undefined,
    });
    const tolerance = dtype === 'float64' ? 1e-13 : 2e-6;
    for (const { gradients, norm, parameters } of golden_.steps) {
      [weight, bias].forEach((one, index) => setGradient(one, gradients[index]!));
      const { gradNorm } = await optimizer.step();
      closeTo([gradNorm], [norm], tolerance);
      closeTo(numbers(weight.tensor), parameters[0]!, tolerance);
      closeTo(numbers(bias.tensor), parameters[1]!, tolerance);
    }
  });
}

test('gradients are zero after a step and after zeroGrad, in their own memory', async () => {
  const weight = parameter('weight', [1, 2, 3]);
  const optimizer = new AdamW([weight], { lr: 0.1 });
  setGradient(weight, [1, 1, 1]);
  await optimizer.step();
  assert.deepEqual(numbers(weight.tensor.grad!), [0, 0, 0]);
  setGradient(weight, [1, 1, 1]);
  const gradient = weight.tensor.grad!;
  await optimizer.zeroGrad();
  assert.deepEqual(numbers(gradient), [0, 0, 0]);
});

test('state taken from one optimizer and given to another goes on with the same bits', async () => {
  const gradients = [
    [0.5, -2],
    [3, 0.25],
    [-1, 1],
  ];
  const whole = parameter('weight', [1, 2]);
  const first = parameter('weight', [1, 2]);
  const optimizer = new AdamW([whole], { lr: 0.1 });
  const before = new AdamW([first], { lr: 0.1 });
  for (const values of gradients) {
    setGradient(whole, values);
    await optimizer.step();
  }
  setGradient(first, gradients[0]!);
  await before.step();
  const second = parameter('weight', numbers(first.tensor));
  const after = new AdamW([second], { lr: 0.1 });
  after.loadState(await before.state());
  for (const values of gradients.slice(1)) {
    setGradient(second, values);
    await after.step();
  }
  assert.deepEqual(numbers(second.tensor), numbers(whole.tensor));
});

test('state taken up lies in memory as its parameter does', async () => {
  const base = [0.5, -2, 3, 0.25, -1, 1, 2, -0.125, 4, 0.75, -3, 1.5];
  const layouts: readonly (readonly [string, (rows: Tensor) => Tensor])[] = [
    ['transposed', (rows) => rows.reshape([4, 3]).t()],
    [
      'channels last',
      (rows) => call('aten::contiguous', rows.reshape([1, 2, 3, 2]), { memory_format: 'channels_last' }),
    ],
    ['with a dimension of one entry', (rows) => rows.reshape([3, 1, 4]).transpose(0, 1)],
    ['three dimensions in another order', (rows) => rows.reshape([2, 3, 2]).transpose(0, 2)],
  ];
  for (const [title, lay] of layouts) {
    const make = (values: readonly number[]): Parameter => {
      const made = lay(tensor([...values], [12])).detach();
      made.requiresGrad = true;
      return { name: 'weight', tensor: made, decay: true };
    };
    const give = ({ tensor: weight }: Parameter, by: number): void => {
      const gradient = call('aten::empty_like', weight);
      gradient.copyFrom(lay(tensor(base, [12])).mul(by));
      weight.grad = gradient;
    };
    const whole = make(base);
    const going = new AdamW([whole], { lr: 0.1 });
    give(whole, 1);
    await going.step();
    const resumed = make(base);
    resumed.tensor.copyFrom(whole.tensor);
    const after = new AdamW([resumed], { lr: 0.1 });
    after.loadState(await going.state());
    for (const by of [-2, 0.5]) {
      for (const [one, optimizer] of [
        [whole, going],
        [resumed, after],
      ] as const) {
        give(one, by);
        await optimizer.step();
      }
      assert.deepEqual(numbers(resumed.tensor), numbers(whole.tensor), title);
    }
    assert.deepEqual(await after.state(), await going.state(), title);
  }
});

test('state that does not fit is refused, and the state before stays', async () => {
  const weight = parameter('weight', [1, 2]);
  const optimizer = new AdamW([weight], { lr: 0.1 });
  setGradient(weight, [1, 1]);
  await optimizer.step();
  const state = await optimizer.state();
  assert.deepEqual([...state.keys()], ['exp_avg.weight', 'exp_avg_sq.weight', 'step.weight']);
  const refused: [string, (copy: typeof state) => void, RegExp][] = [
    ['missing', (copy) => copy.delete('exp_avg.weight'), /exp_avg.weight is missing/],
    [
      'unknown',
      (copy) => copy.set('exp_avg.other', state.get('exp_avg.weight')!),
      /exp_avg.other belongs to no parameter/,
    ],
    [
      'shape',
      (copy) => copy.set('exp_avg.weight', { dtype: 'float32', shape: [1], bytes: new Uint8Array(4) }),
      /exp_avg.weight is float32 \[1\], its parameter needs float32 \[2\]/,
    ],
  ];
  for (const [, change, message] of refused) {
    const copy = new Map(state);
    change(copy);
    assert.throws(() => optimizer.loadState(copy), { code: 'CHECKPOINT', message });
  }
  assert.deepEqual(await optimizer.state(), state);
});

test('two parameters of one name have states of their own', async () => {
  const towers = [parameter('weight', [1]), parameter('weight', [2])];
  const optimizer = new AdamW(towers, { lr: 0.1 });
  for (const one of towers) setGradient(one, [1]);
  await optimizer.step();
  assert.deepEqual(
    [...(await optimizer.state()).keys()].filter((key) => key.startsWith('step')),
    ['step.weight', 'step.weight#2'],
  );
});

test('a gradient that is not finite stops the step and changes nothing', async () => {
  const good = parameter('good', [1, 2]);
  const bad = parameter('layer.bad', [3, 4]);
  const optimizer = new AdamW([good, bad], { lr: 0.1, maxGradNorm: 1 });
  setGradient(good, [1, 1]);
  setGradient(bad, [Infinity, 0]);
  await assert.rejects(optimizer.step(), { code: 'NON_FINITE', message: /at fault: layer\.bad\)/ });
  assert.deepEqual(numbers(good.tensor), [1, 2]);
  assert.deepEqual(numbers(good.tensor.grad!), [1, 1]);
  assert.equal((await optimizer.state()).size, 0);
});

test('clipGradNorm scales to the norm asked for and leaves a smaller norm alone', async () => {
  const one = parameter('one', [0, 0]);
  const two = parameter('two', [0], { dtype: 'float64' });
  setGradient(one, [2, 3]);
  setGradient(two, [6]);
  assert.ok(Math.abs((await clipGradNorm([one, two], 100)) - 7) < 1e-6);
  assert.deepEqual(numbers(one.tensor.grad!), [2, 3]);
  await clipGradNorm([one, two], 3.5);
  closeTo([...numbers(one.tensor.grad!), ...numbers(two.tensor.grad!)], [1, 1.5, 3], 1e-6);
  await assert.rejects(clipGradNorm([one], 0), { code: 'INPUT' });
});

test('settings and parameters that make no sense are refused', async () => {
  const weight = parameter('weight', [1]);
  const refused: [() => unknown, RegExp][] = [
    [() => new AdamW([], { lr: 1 }), /no parameters/],
    [() => new AdamW([weight], { lr: -1 }), /lr of AdamW is -1/],
    [() => new AdamW([weight], undefined as never), /AdamW takes its options as an object: lr/],
    [() => new AdamW(undefined as never, { lr: 1 }), /needs a list of parameters/],
    [() => new AdamW([weight], { lr: 1, weight_decay: 3 } as never), /knows no option 'weight_decay'/],
    [() => new AdamW([weight], { lr: 1, betas: [0.9, 1] }), /betas of AdamW is \[0.9,1\]/],
    [() => new AdamW([weight], { lr: 1, betas: [0.9] as never }), /betas of AdamW is \[0.9\]/],
    [() => new AdamW([weight], { lr: 1, betas: 0.9 as never }), /betas of AdamW is 0.9/],
    [() => new AdamW([weight], { lr: 1, eps: 0 }), /eps/],
    [() => new AdamW([weight], { lr: 1, weightDecay: NaN }), /weightDecay of AdamW is NaN/],
    [() => new AdamW([weight], { lr: 1, weightDecay: Infinity }), /weightDecay of AdamW is Infinity/],
    [() => new AdamW([weight], { lr: 1, maxGradNorm: 0 }), /maxGradNorm/],
    [() => new AdamW([weight, weight], { lr: 1 }), /weight is given to AdamW twice/],
    [() => new AdamW([{ parameters: [weight], lrScale: -1 }], { lr: 1 }), /lrScale/],
  ];
  for (const [make, message] of refused)
    assert.throws(make, (error) => error instanceof GradCacheError && message.test(error.message));
  await assert.rejects(new AdamW([weight], { lr: 1 }).step(), {
    code: 'INPUT',
    message: /No parameter has a gradient/,
  });
});

test('what was changed behind the optimizer is refused before its kernel reads it', async () => {
  const resize = (tensor: Tensor, shape: number[]) => call('aten::resize_', tensor, shape).dispose();
  const changes: readonly (readonly [string, (weight: Tensor) => void, RegExp])[] = [
    ['a smaller gradient', (weight) => resize(weight.grad!, [1]), /gradient of weight has shape \[1\]/],
    ['a larger gradient', (weight) => resize(weight.grad!, [2000, 1000]), /gradient of weight has shape/],
    [
      'a larger parameter',
      (weight) => {
        weight.requiresGrad = false;
        resize(weight, [2000, 1000]);
        weight.requiresGrad = true;
      },
      /weight has shape/,
    ],
    [
      'a gradient that lies otherwise',
      (weight) => (weight.grad = Tensor.from([1, 2, 3, 4], { shape: [2, 2] }).t()),
      /strides/,
    ],
    [
      'a parameter of another type',
      (weight) => {
        weight.requiresGrad = false;
        call('aten::set_data', weight, tensor([1, 2, 3, 4], [2, 2], 'float64'));
        weight.requiresGrad = true;
      },
      /gradient of weight is float32, its parameter float64/,
    ],
    [
      'a parameter that is a view with gaps',
      (weight) => {
        weight.requiresGrad = false;
        call('aten::set_data', weight, tensor([1, 2, 3, 4, 5, 6, 7, 8], [2, 4]).narrow(1, 0, 2));
        weight.requiresGrad = true;
      },
      /weight is a view with strides/,
    ],
    [
      'a gradient that is no dense tensor',
      (weight) => (weight.grad = call('aten::to_mkldnn', tensor([1, 2, 3, 4], [2, 2]))),
      /gradient of weight is Mkldnn/,
    ],
  ];
  for (const [title, change, message] of changes) {
    for (const updated of [false, true]) {
      const weight = parameter('weight', [1, 2, 3, 4], { shape: [2, 2] });
      const optimizer = new AdamW([weight], { lr: 0.1 });
      weight.tensor.grad = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
      if (updated) await optimizer.step();
      change(weight.tensor);
      await assert.rejects(
        optimizer.step(),
        (error) => error instanceof GradCacheError && message.test(error.message),
        `${title}, ${updated ? 'after' : 'before'} a first update`,
      );
    }
  }
});

test('an update looks at the memory of many parameters in the time of reading their gradients', async () => {
  const parameters = Array.from({ length: 200 }, (_, index) =>
    parameter(`${index}`, [1, 2, 3, 4], { shape: [2, 2] }),
  );
  for (const one of parameters) setGradient(one, [1, 1, 1, 1]);
  const optimizer = new AdamW(parameters, { lr: 0.1 });
  const reading: number[] = [];
  const launching: number[] = [];
  for (let round = 0; round < 40; round++) {
    const start = performance.now();
    for (const { tensor: weight } of parameters) weight.grad?.dispose();
    reading.push(performance.now() - start);
    const update = optimizer.step();
    launching.push(performance.now() - start - reading.at(-1)!);
    await update;
  }
  const [read, launch] = [Math.min(...reading), Math.min(...launching)];
  assert.ok(launch < 8 * read, `${launch} ms of this thread for an update, ${read} ms for its gradients`);
});

test('parameters may come from an iterable that can be gone through once', async () => {
  const once = function* (parameters: readonly Parameter[]) {
    yield* parameters;
  };
  const weight = parameter('weight', [1, 2]);
  setGradient(weight, [3, 4]);
  assert.equal(await clipGradNorm(once([weight]), 1), 5);
  assert.ok(Math.abs(numbers(weight.tensor.grad!)[0]! - 0.6) < 1e-5);
  for (const given of [once([weight]), [{ parameters: once([weight]) }], new Map([[1, weight]]).values()]) {
    setGradient(weight, [3, 4]);
    const before = numbers(weight.tensor);
    await new AdamW(given, { lr: 0.1 }).step();
    assert.notDeepEqual(numbers(weight.tensor), before);
  }
  const broken = function* () {
    yield weight;
    throw new Error('no more');
  };
  await assert.rejects(clipGradNorm(broken(), 1), { code: 'INPUT', message: /no more/ });
  assert.throws(() => new AdamW(broken(), { lr: 0.1 }), { code: 'INPUT', message: /no more/ });
});
