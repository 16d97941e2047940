import * as gradcache from '../../../lib/index.js';
import {
  AdamW,
  call,
  GradCache,
  infoNCE,
  ModuleEncoder,
  RepresentationCache,
  Tensor,
} from '../../../lib/index.js';
import type { Parameter } from '../../../lib/index.js';
import { tenTexts, textEncoder } from '../../exactness/support.js';
import { disturbedCalls, type GoodCall } from '../disturbed-calls.js';
import type { Target } from '../target.js';

const ones = (...shape: number[]) => call<Tensor>('aten::ones', shape);

function parameters(): Parameter[] {
  return ['weight', 'bias'].map((name, place) => {
    const tensor = ones(...[3, 2].slice(place));
    tensor.requiresGrad = true;
    tensor.grad = ones(...tensor.shape);
    return { name, tensor, decay: place === 0 };
  });
}

async function updated(given: Parameter[], options: never, state: never): Promise<void> {
  const optimizer = new AdamW(given, options);
  await optimizer.step();
  optimizer.loadState(state);
  await optimizer.step();
}

async function stateOf(given: Parameter[]): Promise<unknown> {
  const optimizer = new AdamW(given, { lr: 1 });
  await optimizer.step();
  return optimizer.state();
}

async function cached(rows: number[], first: never, rest: never, representations: never): Promise<void> {
  const cache = new RepresentationCache(rows);
  for (const tower of [0, 1]) {
    cache.put(tower, first, representations);
    cache.put(tower, rest, representations);
  }
  await cache.compute(infoNCE());
  cache.gradients(0, first);
  cache.restore();
}

/** A linear layer from 4 to 3 of a tensor, or of one in an object. */
function linear(): ModuleEncoder<Tensor | { only: Tensor }> {
  const weight = ones(3, 4);
  weight.requiresGrad = true;
  return new ModuleEncoder({
    forward: (input) => call('aten::linear', input instanceof Tensor ? input : input.only, weight),
    parameters: () => [{ name: 'weight', tensor: weight, decay: true }],
  });
}

const schedule = { lr: 0.1, warmup: 2, total: 10 };
const pairs = ['a', 'b', 'c', 'd', 'e'].map((text) => ({ anchor: text, positive: `${text}${text}` }));
const relevant = () => [new Map([[0, 1]]), new Map([[1, 2]])];
const ranking = () => ({ k: 2, documents: Int32Array.of(0, 1, 1, 0), scores: Float32Array.of(2, 1, 2, 1) });
const encodes = { encode: async (texts: readonly string[]) => ones(texts.length, 3) };

/** Steps, losses, optimizers, schedules, batches and evaluation. */
export const training: Target = {
  count: 1500,
  least: { answered: 250, refused: 250 },
  prepare: async () => {
    const encoder = await textEncoder('float32', { dropout: 0.1 });
    const step = (options: object, inputs: never[], more: never) =>
      new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), ...options }).step(inputs, more);
    const lossOf = (options: never, ...representations: Tensor[]) => {
      const cache = new RepresentationCache(representations.map(() => 4));
      for (const [tower, given] of representations.entries())
        cache.put(tower, Int32Array.of(0, 1, 2, 3), given);
      return cache.compute(infoNCE(options), { targets: [0, 1, 2, 3] });
    };
    const state = await stateOf(parameters());
    const calls: GoodCall[] = [
      {
        name: 'step',
        make: () => [
          { chunk: { sequences: 4 }, retain: 'last', accumulate: 2, seed: 3 },
          [tenTexts(1), tenTexts(2)],
          { seed: 1, loss: { targets: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] } },
        ],
        use: step,
      },
      {
        name: 'step of modules',
        make: () => [
          [linear(), linear()],
          (left: Tensor, right: Tensor) => left.mul(right).sum(),
          [ones(5, 4), { only: ones(5, 4) }],
        ],
        use: (encoders: never, loss: never, inputs: never[]) =>
          new GradCache({ encoders, loss }).step(inputs),
      },
      {
        name: 'infoNCE',
        make: () => [
          { temperature: { initial: 0.1, learned: true }, similarity: 'cosine', symmetric: true },
          ...[ones(4, 3), ones(4, 3), ones(4, 3)],
        ],
        use: lossOf,
      },
      {
        name: 'RepresentationCache',
        make: () => [[4, 4], Int32Array.of(0, 2), Int32Array.of(1, 3), ones(2, 3)],
        use: cached,
      },
      {
        name: 'AdamW',
        make: () => [
          parameters(),
          { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0.1, maxGradNorm: 1 },
          state,
        ],
        use: updated,
      },
      { name: 'clipGradNorm', make: () => [parameters(), 1], use: gradcache.clipGradNorm },
      ...(['linearSchedule', 'cosineSchedule'] as const).map((name) => ({
        name,
        make: () => [schedule, 3],
        use: (options: typeof schedule, at: number) => gradcache[name](options)(at),
      })),
      {
        name: 'constantSchedule',
        make: () => [{ lr: 0.1, warmup: 2 }, 3],
        use: (options: typeof schedule, at: number) => gradcache.constantSchedule(options)(at),
      },
      {
        name: 'batches',
        make: () => [
          pairs,
          { size: 2, seed: 1, epochs: 2, shuffle: { buffer: 3 }, dropLast: true, uniqueTexts: true },
        ],
        use: gradcache.batches,
      },
      { name: 'shuffle', make: () => [pairs, { seed: 1, epoch: 2, buffer: 2 }], use: gradcache.shuffle },
      { name: 'prefetch', make: () => [pairs, (row: unknown) => row, { ahead: 2 }], use: gradcache.prefetch },
      { name: 'planChunks', make: () => [Int32Array.of(3, 1, 2), { tokens: 4 }], use: gradcache.planChunks },
      {
        name: 'search',
        make: () => [ones(2, 3), [ones(4, 3), ones(1, 3)], { k: 2, similarity: 'dot' }],
        use: gradcache.search,
      },
      { name: 'scoreRanking', make: () => [ranking(), relevant(), 2, [1, 5]], use: gradcache.scoreRanking },
      {
        name: 'evaluateRetrieval',
        make: () => [
          encodes,
          { queries: ['a', 'b'], documents: ['c', 'd'], relevant: relevant() },
          { recallAt: [1, 2], similarity: 'cosine' },
        ],
        use: gradcache.evaluateRetrieval,
      },
      {
        name: 'evaluateSts',
        make: () => [
          encodes,
          { first: ['a', 'b'], second: ['c', 'd'], scores: [1, 2] },
          { similarity: 'dot' },
        ],
        use: gradcache.evaluateSts,
      },
      {
        name: 'spearman',
        make: () => [
          [1, 2, 3],
          [2, 3, 1],
        ],
        use: gradcache.spearman,
      },
      {
        name: 'pearson',
        make: () => [
          [1, 2, 3],
          [2, 3, 1],
        ],
        use: gradcache.pearson,
      },
      { name: 'averageRanks', make: () => [[1, 2, 2]], use: gradcache.averageRanks },
    ];
    return disturbedCalls(calls);
  },
};
