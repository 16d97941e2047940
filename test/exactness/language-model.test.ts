import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import {
  call,
  LanguageModel,
  noGrad,
  withSeed,
  type NewLanguageModel,
  type Segment,
} from '../../lib/index.js';
import { backward } from '../../lib/tensor/autograd.js';
import { plainSegment } from '../language/plain-language-model.js';
import { numbersOf, randomSegments } from '../language/support.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';

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

/** The precisions and what a gradient may be off by; a GPU has kernels of its own for float32. */
const PRECISIONS: readonly (readonly ['float64' | 'float32', number])[] = [
  ['float64', 1e-10],
  ...(device === 'cpu' ? [] : [['float32', 1e-4] as const]),
];

const [FIRST, SECOND] = randomSegments([5, 4]) as [Segment, Segment];
/** Some places have no target. */
const TARGETS = SECOND.targets.map((target, place) => (place % 4 === 1 ? -1 : target));

function near(actual: readonly number[], expected: readonly number[], tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  const scale = Math.max(1, ...expected.map(Math.abs));
  const worst = Math.max(0, ...actual.map((value, k) => Math.abs(value - expected[k]!)));
  assert.ok(worst <= tolerance * scale, `${what}: off by ${worst} of ${scale}`);
}

/** Leaves in float64 on the CPU with the values of tensors. */
function leavesOf(tensors: readonly Tensor[]): Tensor[] {
  return tensors.map((tensor) => {
    const leaf = noGrad(() => tensor.detach().to({ dtype: 'float64', device: 'cpu' }).clone());
    leaf.requiresGrad = true;
    return leaf;
  });
}

const gradientOf = (leaf: Tensor) =>
  leaf.grad === null ? new Array<number>(leaf.size).fill(0) : numbersOf([leaf.grad]);
const likeRandom = (tensors: readonly Tensor[], seed: number) =>
  withSeed(seed, () => tensors.map((tensor) => noGrad(() => call('aten::randn_like', tensor))));

for (const [name, settings] of Object.entries(MODELS)) {
  test(`${name}: loss, penalty, state and every gradient are those of the plain model`, async () => {
    for (const [precision, tolerance] of PRECISIONS) {
      using model = LanguageModel.create(settings, { device, precision });
      const parameters = model.parameters();
      withSeed(5, () => {
        noGrad(() => {
          for (const { tensor } of parameters) call('aten::normal_', tensor, 0, 0.5).dispose();
        });
      });
      // The first segment gives the state and the memory that the second starts from.
      const start = model.initialState(3);
      const { after } = await model.forwardSegment(
        FIRST,
        { ...start, state: likeRandom(start.state, 9) },
        { seed: 10, graph: false },
      );
      const segment = { ...SECOND, targets: TARGETS };

      const leaves = leavesOf(parameters.map(({ tensor }) => tensor));
      const weights = new Map(parameters.map((parameter, k) => [parameter.name, leaves[k]!]));
      const state = leavesOf(after.state);
      const memory = after.memory
        .slice(0, -1)
        .map((tensor) => tensor.to({ dtype: 'float64', device: 'cpu' }));
      const plain = plainSegment({ settings: model.settings, weights, segment, state, memory, seed: 11 });
      const seeds = likeRandom(after.state, 2);
      const weight = (root: Tensor) => call('aten::full_like', root, 0.7);
      await backward(
        [plain.loss, plain.penalty, ...plain.state],
        [
          weight(plain.loss),
          weight(plain.penalty),
          ...seeds.map((seed) => seed.to({ dtype: 'float64', device: 'cpu' })),
        ],
      );

      const pass = await model.forwardSegment(segment, after, { seed: 11, graph: true });
      near([pass.loss, pass.penalty], [plain.loss.item(), plain.penalty.item()], tolerance, 'loss');
      near(numbersOf(pass.after.state), numbersOf(plain.state), tolerance, 'state');
      const stateGradient = await pass.backward(0.7, seeds);
      for (const [k, parameter] of parameters.entries())
        near(numbersOf([parameter.tensor.grad!]), gradientOf(leaves[k]!), tolerance, parameter.name);
      near(numbersOf(stateGradient), state.flatMap(gradientOf), tolerance, 'gradient of the state');
    }
  });
}
