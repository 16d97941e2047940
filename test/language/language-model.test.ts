import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AcrossSegments,
  call,
  LanguageModel,
  noGrad,
  Tensor,
  withSeed,
  type Carried,
  type NewLanguageModel,
  type Segment,
} from '../../lib/index.js';
import { backward } from '../../lib/tensor/autograd.js';
import { numbersOf, randomSegments } from './support.js';
import { plainSegment } from './plain-language-model.js';

const SMALL = { vocabulary: 7, layers: 2, width: 6 } as const;

/** Every kind of layer, softmax, dropout and penalty, alone and together. */
const MODELS: Record<string, NewLanguageModel> = {
  'one layer': { ...SMALL, cell: 'gru', layers: 1 },
  sru: { ...SMALL, cell: 'sru', rescale: true, highwayBias: -1, embedding: 4 },
  'sru, norm before': { ...SMALL, cell: 'sru', norm: 'before', dropout: 0.3 },
  'sru, norm after': { ...SMALL, cell: 'sru', norm: 'after', outputDropout: 0.3 },
  'sru++': { ...SMALL, cell: 'sru++', projected: 4 },
  'sru++, heads': {
    ...SMALL,
    layers: 3,
    projected: 4,
    heads: 2,
    attentionLayers: [0, 2],
    dropout: 0.3,
    attentionDropout: 0.2,
  },
  'sru++, every second': { ...SMALL, attentionEvery: 2, norm: 'before', memory: 2 },
  qrnn: { ...SMALL, cell: 'qrnn' },
  'qrnn as in AWD-QRNN': {
    ...SMALL,
    cell: 'qrnn',
    layers: 3,
    embedding: 4,
    output: 'tied',
    qrnnWindow: 2,
    sharedMasks: true,
    wordDropout: 0.2,
    inputDropout: 0.4,
    dropout: 0.3,
    outputDropout: 0.4,
    weightDropout: 0.1,
    activationPenalty: 2,
    slownessPenalty: 1,
  },
  lstm: { ...SMALL, cell: 'lstm', dropout: 0.3, weightDropout: 0.5, slownessPenalty: 0.5 },
  gru: { ...SMALL, cell: 'gru', weightDropout: 0.5, activationPenalty: 0.5, outputDropout: 0.5 },
  tied: { ...SMALL, cell: 'sru', output: 'tied', bias: false },
  'tied, other projections': {
    ...SMALL,
    cell: 'sru',
    embedding: 4,
    output: 'tied',
    tiedProjections: false,
    inputDropout: 0.3,
  },
  adaptive: { ...SMALL, cell: 'sru', cutoffs: [3, 5], divisor: 2 },
  'adaptive, tied': {
    ...SMALL,
    embedding: 4,
    projected: 4,
    cutoffs: [2, 5],
    divisor: 2,
    output: 'tied',
    wordDropout: 0.3,
    outputDropout: 0.2,
  },
  'adaptive, tied vectors alone': {
    ...SMALL,
    cell: 'lstm',
    embedding: 4,
    cutoffs: [3],
    output: 'tied',
    tiedProjections: false,
  },
  'adversarial noise': { ...SMALL, cell: 'sru', adversarialNoise: 0.1 },
  'adversarial noise, adaptive': {
    ...SMALL,
    cell: 'sru',
    cutoffs: [2, 5],
    divisor: 2,
    adversarialNoise: 0.2,
  },
};

/** A model in float64 whose weights are all far from 0. */
function randomModel(settings: NewLanguageModel, seed = 5): LanguageModel {
  const model = LanguageModel.create(settings, { precision: 'float64' });
  withSeed(seed, () =>
    noGrad(() => {
      for (const { tensor } of model.parameters()) call('aten::normal_', tensor, 0, 0.5).dispose();
    }),
  );
  return model;
}

/** A state of random numbers. */
function randomState(model: LanguageModel, rows: number): Carried {
  const { state, memory } = model.initialState(rows);
  return {
    state: withSeed(9, () => state.map((slot) => noGrad(() => call('aten::randn_like', slot)))),
    memory,
  };
}

const [SEGMENT, NEXT] = randomSegments([5, 4]) as [Segment, Segment];
/** Some places have no target. */
const TARGETS = SEGMENT.targets.map((target, place) => (place % 4 === 1 ? -1 : target));
const FIRST: Segment = { ...SEGMENT, targets: TARGETS };

function near(actual: readonly number[], expected: readonly number[], what: string, tolerance = 1e-10): void {
  assert.equal(actual.length, expected.length, what);
  const scale = Math.max(1, ...expected.map(Math.abs));
  const worst = Math.max(0, ...actual.map((value, k) => Math.abs(value - expected[k]!)));
  assert.ok(worst <= tolerance * scale, `${what}: off by ${worst} of ${scale}`);
}

/** Leaves with the values of tensors. */
function leavesOf(tensors: readonly Tensor[]): Tensor[] {
  return tensors.map((tensor) => {
    const leaf = noGrad(() => tensor.detach().clone());
    leaf.requiresGrad = true;
    return leaf;
  });
}

const gradientOf = (leaf: Tensor) =>
  leaf.grad === null ? new Array<number>(leaf.size).fill(0) : numbersOf([leaf.grad]);

test('loss, penalty, state and every gradient are those of the plain model', async () => {
  for (const [name, settings] of Object.entries(MODELS)) {
    using model = randomModel(settings);
    const before = randomState(model, 3);
    const parameters = model.parameters();
    const leaves = leavesOf(parameters.map(({ tensor }) => tensor));
    const weights = new Map(parameters.map((parameter, k) => [parameter.name, leaves[k]!]));
    const state = leavesOf(before.state);
    const plain = plainSegment({ settings: model.settings, weights, segment: FIRST, state, seed: 11 });
    const seeds = withSeed(2, () => before.state.map((slot) => noGrad(() => call('aten::randn_like', slot))));
    const weight = (root: Tensor) => call('aten::full_like', root, 0.7);
    await backward(
      [plain.loss, plain.penalty, ...plain.state],
      [weight(plain.loss), weight(plain.penalty), ...seeds],
    );

    const pass = await model.forwardSegment(FIRST, before, { seed: 11, graph: true });
    near([pass.loss, pass.penalty], [plain.loss.item(), plain.penalty.item()], `${name}: loss`);
    near(numbersOf(pass.after.state), numbersOf(plain.state), `${name}: state`);
    const stateGradient = await pass.backward(0.7, seeds);
    for (const [k, parameter] of parameters.entries())
      near(
        numbersOf([parameter.tensor.grad!]),
        gradientOf(leaves[k]!),
        `${name}: gradient of ${parameter.name}`,
      );
    near(numbersOf(stateGradient), state.flatMap(gradientOf), `${name}: gradient of the state`);
  }
});

test('the memory of attention is what the layers read in the segment before', async () => {
  const settings = { ...SMALL, layers: 1, projected: 4 };
  using model = randomModel(settings);
  const weights = new Map(model.parameters().map(({ name, tensor }) => [name, tensor]));
  const first = await model.forwardSegment(FIRST, model.initialState(3), { seed: 1, graph: false });
  const second = await model.forwardSegment(NEXT, first.after, { seed: 1, graph: false });
  const read = weights
    .get('embedding.weight')!
    .indexSelect(0, Tensor.from(FIRST.inputs, { shape: [15], dtype: 'int64' }))
    .reshape([3, 5, 6]);
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
  near([second.loss], [plain.loss.item()], 'loss');
  // As many tokens are remembered as the second segment has.
  assert.deepEqual(
    second.after.memory.map(({ shape }) => shape),
    [[3, 4, 6], [3]],
  );
});

test('a document that ended is forgotten: its row goes on as if it began', async () => {
  using model = randomModel({ ...SMALL, projected: 4 });
  const training = new AcrossSegments(model, { across: 'none' });
  await training.step([{ ...FIRST, ends: [1] }]);
  const { loss } = await training.step([NEXT]);
  const alone = async (row: number, ended: boolean) => {
    const of = (segment: Segment): Segment => {
      const length = segment.inputs.length / 3;
      const cut = (ids: Int32Array) => ids.slice(row * length, (row + 1) * length);
      return { rows: 1, inputs: cut(segment.inputs), targets: cut(segment.targets) };
    };
    const start = model.initialState(1);
    const first = await model.forwardSegment(of(FIRST), start, { seed: 0, graph: false });
    const second = await model.forwardSegment(of(NEXT), ended ? start : first.after, {
      seed: 0,
      graph: false,
    });
    return second.loss;
  };
  const sum = (await alone(0, false)) + (await alone(1, true)) + (await alone(2, false));
  near([loss * NEXT.targets.length], [sum], 'loss of the second segment', 1e-12);
});
