import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AcrossSegments,
  AdamW,
  call,
  ModuleSegmentModel,
  syntheticGradients,
  Tensor,
  type Carried,
  type Segment,
  type State,
  type Synthesiser,
  type SyntheticOptions,
} from '../../lib/index.js';
import { drawSeed } from '../../lib/options/seeds.js';
import { gradientsOf, numbersOf, randomSegments, TinyLanguageModel } from './support.js';

/** M(h) = tanh(h) W, whose own state is nothing. */
class LinearSynthesiser implements Synthesiser {
  readonly width = 10;
  readonly weight: Tensor;
  readonly #name = 'weight';

  constructor(readonly predictions: 1 | 2 = 1) {
    const count = this.width * this.width * predictions;
    const values = Float64Array.from({ length: count }, (_, index) => Math.sin(index * index + 1) / 3);
    this.weight = Tensor.from(values, { shape: [this.width, this.width * predictions] });
    this.weight.requiresGrad = true;
  }

  parameters() {
    return [{ name: this.#name, tensor: this.weight, decay: true }];
  }

  initialMemory() {
    return [];
  }

  predict(state: Tensor) {
    return { predictions: state.tanh().matmul(this.weight), memory: [] };
  }
}

const side = (state: State) => call('aten::cat', state, 1);

/** The gradient with which the first update of a synthesiser was made: Adam's first mean is a tenth of it. */
async function firstGradient(training: AcrossSegments): Promise<number[]> {
  const { bytes } = (await training.state()).get('synthesiser.optimizer.exp_avg.weight')!;
  return [...new Float64Array(Uint8Array.from(bytes).buffer)].map((value) => value * 10);
}

/** W's gradient of the mean over some rows of |M(h) - target|^2. */
function regression(
  before: State,
  target: Tensor,
  rows: readonly number[],
  { weight }: LinearSynthesiser,
): number[] {
  const index = Tensor.from(Int32Array.from(rows));
  const h = side(before).tanh().indexSelect(0, index);
  const error = h.matmul(weight.detach().narrow(1, 0, 10)).sub(target.indexSelect(0, index));
  return numbersOf([
    h
      .t()
      .matmul(error)
      .mul(2 / rows.length),
  ]);
}

const near = (actual: readonly number[], wanted: readonly number[], tolerance: number, what = '') => {
  assert.equal(actual.length, wanted.length, what);
  const scale = Math.max(...wanted.map(Math.abs));
  actual.forEach((value, index) => {
    assert.ok(
      Math.abs(value - wanted[index]!) <= tolerance * scale,
      `${what} ${index}: ${value}, ${wanted[index]}`,
    );
  });
};

test('the first update is that of truncated training, for every synthesiser', async () => {
  const synthesisers: SyntheticOptions['synthesiser'][] = [
    undefined,
    { kind: 'perceptron', hidden: [4, 3] },
    { kind: 'perceptron', hidden: [] },
    { kind: 'recurrent' },
    { kind: 'recurrent', along: 'coordinates', hidden: 6 },
    { kind: 'recurrent', along: 'segments', cell: 'gru', hidden: 6 },
    { kind: 'recurrent', along: 'coordinates', cell: 'gru', hidden: 6 },
  ];
  const segments = randomSegments([4, 4, 3]);
  const plain = new TinyLanguageModel();
  await new AcrossSegments(new ModuleSegmentModel(plain), { across: 'none' }).step(segments);
  for (const synthesiser of synthesisers) {
    for (const auxiliary of [0, 0.5]) {
      const module = new TinyLanguageModel();
      const across = syntheticGradients({
        ...(synthesiser && { synthesiser }),
        auxiliary,
        factor: 1,
        noise: 0.5,
      });
      const training = new AcrossSegments(new ModuleSegmentModel(module), { across });
      await training.step(segments);
      assert.deepEqual(gradientsOf(module), gradientsOf(plain));
      // The synthesiser has learnt from the first step, so that the second differs.
      await training.step(randomSegments([4, 4]).map(({ start: _, ...segment }) => segment));
      assert.notDeepEqual(gradientsOf(module), gradientsOf(plain));
    }
  }
});

/** Two steps of a segment each; the second one is looked at. Rows 0 and 2 go on from the first. */
async function twoSteps(options: SyntheticOptions = {}, predictions: 1 | 2 = 1) {
  const [first, second] = randomSegments([3, 4], { ends: [[1], [2]] }) as [Segment, Segment];
  const module = new TinyLanguageModel();
  const model = new ModuleSegmentModel(module);
  const synthesiser = new LinearSynthesiser(predictions);
  const weights = numbersOf([synthesiser.weight]);
  const across = syntheticGradients({ factor: 0.3, ...options, synthesiser });
  const training = new AcrossSegments(model, { across });
  await training.step(first, { weight: 0.01 });
  assert.deepEqual(numbersOf([synthesiser.weight]), weights, 'no state was handed on to learn from');
  await new AdamW(model.parameters(), { lr: 1e-3 }).zeroGrad();
  // What the step starts from, by hand: row 1 starts anew.
  const start = await model.forwardSegment(first, model.initialState(3), { seed: 0, graph: false });
  const keep = Tensor.from(Float64Array.of(1, 0, 1), { shape: [3, 1] });
  const before: Carried = { state: start.after.state.map((slot) => slot.mul(keep)), memory: [] };
  const fixed = new LinearSynthesiser(predictions);
  const { loss, after } = await model.forwardSegment(second, before, { seed: 0, graph: false });
  const goesOn = Tensor.from(Float64Array.of(1, 1, 0), { shape: [3, 1] });
  const ahead = fixed.predict(side(after.state)).predictions.detach().narrow(1, 0, 10).mul(goesOn);
  return { training, model, module, second, before, fixed, ahead, loss };
}

test("the target is the gradient of the segment's loss and of the prediction behind it, by finite differences", async () => {
  const { training, model, second, before, fixed, ahead } = await twoSteps();
  const result = await training.step(second, { weight: 0.01 });
  const objective = async (state: State) => {
    const pass = await model.forwardSegment(second, { state, memory: [] }, { seed: 0, graph: false });
    return pass.loss + 0.3 * side(pass.after.state).mul(ahead).sum().item();
  };
  const target = new Float64Array(3 * 10);
  const step = 1e-5;
  for (const [slot, tensor] of before.state.entries()) {
    for (let element = 0; element < tensor.size; element++) {
      const at = async (by: number) => {
        const values = (tensor.valuesSync() as Float64Array).slice();
        values[element]! += by;
        const moved = Tensor.from(values, { shape: tensor.shape });
        return objective(before.state.map((other, place) => (place === slot ? moved : other)));
      };
      const row = Math.floor(element / 5);
      target[row * 10 + slot * 5 + (element % 5)] = ((await at(step)) - (await at(-step))) / (2 * step);
    }
  }
  const wanted = Tensor.from(target, { shape: [3, 10] });
  near(await firstGradient(training), regression(before.state, wanted, [0, 2], fixed), 1e-7);
  const error = fixed.predict(side(before.state)).predictions.sub(wanted);
  const each = error.mul(error).sum(1).valuesSync();
  near([result.synthesiser!.loss], [(Number(each[0]) + Number(each[2])) / 2], 1e-7);
});

test('both seeds go back in one backward: two give the same weights, and another synthesiser', async () => {
  const { training, model, module, second, before, fixed, ahead } = await twoSteps();
  await training.step(second, { weight: 0.01 });
  const joint = gradientsOf(module);
  await new AdamW(model.parameters(), { lr: 1e-3 }).zeroGrad();
  const run = () => model.forwardSegment(second, before, { seed: 0, graph: true });
  const seeds = call<Tensor[]>('aten::split.Tensor', ahead.mul(0.3 * 0.01), 5, 1);
  const parts = [
    side(await (await run()).backward(0.01, null)),
    side(await (await run()).backward(0, seeds)),
  ].map((part) => part.mul(100));
  near(joint, gradientsOf(module), 1e-12, 'weights');
  const gradient = await firstGradient(training);
  near(gradient, regression(before.state, parts[0]!.add(parts[1]!), [0, 2], fixed), 1e-12, 'joint');
  // Two calls regress on each part by itself.
  const apart = parts.map((part) => regression(before.state, part, [0, 2], fixed));
  const difference = gradient.map((value, index) => Math.abs(value - apart[0]![index]! - apart[1]![index]!));
  assert.ok(Math.max(...difference) > 1e-3 * Math.max(...gradient.map(Math.abs)));
});

test('the auxiliary task is to predict the gradient that is predicted a segment later', async () => {
  const { training, second, before, fixed, ahead } = await twoSteps({ auxiliary: 0.7 }, 2);
  await training.step(second, { weight: 0.01 });
  const gradient = await firstGradient(training);
  const own = (numbers: readonly number[], from: number) =>
    numbers.filter((_, index) => index % 20 >= from && index % 20 < from + 10);
  const next: LinearSynthesiser = Object.create(fixed, {
    weight: { value: fixed.weight.detach().narrow(1, 10, 10) },
  }) as LinearSynthesiser;
  const wanted = regression(before.state, ahead, [0, 2], next).map((value) => value * 0.7);
  near(own(gradient, 10), wanted, 1e-12);
});

test('a synthesiser along the segments sees each coordinate by itself, and remembers', async () => {
  const module = new TinyLanguageModel();
  const across = syntheticGradients({ synthesiser: { kind: 'recurrent', hidden: 3 }, lr: 0.1 });
  const training = new AcrossSegments(new ModuleSegmentModel(module), { across });
  const [first, ...others] = randomSegments([4, 4, 4, 4]);
  await training.step(first!);
  const memory = async () => (await training.state()).get('synthesiser.memory.0')!;
  assert.deepEqual((await memory()).shape, [1, 3 * 10, 3]);
  const { bytes } = await memory();
  const { synthesiser } = await training.step(others);
  assert.ok(synthesiser!.loss > 0);
  assert.notDeepEqual((await memory()).bytes, bytes);
  training.reset();
  assert.equal((await training.state()).has('synthesiser.memory.0'), false);
  assert.equal(drawSeed('synthesiser', 0, 0) === drawSeed('segment', 0, 0), false);
});

test('a synthesiser learns to predict the gradient', async () => {
  const module = new TinyLanguageModel();
  const across = syntheticGradients({ synthesiser: { kind: 'perceptron', hidden: [64] }, lr: 1e-2 });
  const training = new AcrossSegments(new ModuleSegmentModel(module), { across });
  const segments = randomSegments([3, 3, 3, 3, 3, 3]);
  const losses: number[] = [];
  for (let epoch = 0; epoch < 150; epoch++) {
    training.reset();
    losses.push((await training.step(segments)).synthesiser!.loss);
  }
  assert.ok(losses.at(-1)! < losses[0]! / 4, `${losses[0]} to ${losses.at(-1)}`);
});
