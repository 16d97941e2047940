import type { EncoderSettings } from '../../../lib/addon/native.js';
import { types } from 'node:util';
import { GradCacheError } from '../../../lib/errors.js';
import {
  guarded,
  native,
  type EncoderHandle,
  type Native,
  type TensorHandle,
} from '../../../lib/addon/native.js';
import { disturbedCalls, type GoodCall } from '../disturbed-calls.js';
import type { Target } from '../target.js';

const settings = {
  ...{
    architecture: 'bert',
    vocabulary: 20,
    hidden: 12,
    layers: 1,
    heads: 3,
    intermediate: 7,
    positions: 16,
  },
  ...{
    types: 2,
    paddingToken: 0,
    positionsAfterPadding: false,
    normEpsilon: 1e-12,
    activation: 'gelu',
    pooling: 'mean',
  },
  ...{ hiddenDropout: 0.1, attentionDropout: 0.1 },
  modules: [
    { kind: 'dense', name: 'dense.0', inFeatures: 12, outFeatures: 4, bias: true, activation: 'tanh' },
    { kind: 'normalize' },
  ] as EncoderSettings[],
};
const lossSettings = { scale: 20, cosine: true, symmetric: true, learned: true, targets: [1, 0], weight: 1 };

/** Node's own errors are good enough between the addon and the TypeScript before it, which checks what users give. */
async function typed(body: () => unknown): Promise<unknown> {
  try {
    return await guarded(body);
  } catch (error) {
    if (error instanceof GradCacheError || !types.isNativeError(error)) throw error;
    throw new GradCacheError('INPUT', error.message, { cause: error });
  }
}

/** A call of a function that the addon exports. */
const exported = (name: Exclude<keyof Native, `${string}Handle`>, make: () => unknown[]): GoodCall => ({
  name,
  make,
  use: (...args) => {
    const entries = native() as unknown as Readonly<Record<string, (...given: never[]) => unknown>>;
    return entries[name]!(...args);
  },
});

/** What the addon exports, called without the checks that the TypeScript before it makes. */
export const addon: Target = {
  count: 3000,
  least: { answered: 500, refused: 500 },
  prepare: async () => {
    const tensor = (...shape: number[]): TensorHandle => {
      const size = shape.reduce((product, extent) => product * extent, 1);
      return native().tensorFromBytes(new Float32Array(size).fill(0.5), shape, 'float32', 'cpu');
    };
    const encoder = (): EncoderHandle => {
      const made = new (native().EncoderHandle)(settings, 'float32', 'cpu', [], []);
      const fill = new (native().OperatorHandle)('aten::fill_', 'Scalar');
      native().withGradMode(false, () => {
        for (const { tensor: weight } of made.parameters()) fill.call([weight, 0.1]);
      });
      return made;
    };
    const shared = encoder();
    const texts = await shared.batch(Int32Array.of(3, 4, 19, 0, 7), Int32Array.of(0, 2, 5));
    const chunk = (): unknown[] => [texts, Int32Array.of(0, 1), 5, 1];
    const passes = async (
      batch: never,
      rows: never,
      tokens: never,
      seed: never,
      mode: never,
      gradient: never,
    ) => {
      await shared.forward(batch, rows, tokens, seed, mode, 0);
      await shared.backward(batch, rows, tokens, seed, gradient, 0);
    };
    const rowPasses = async (
      batch: never,
      rows: never,
      tokens: never,
      seed: never,
      target: never,
      gradients: never,
    ) => {
      const graph = await shared.forward(batch, rows, tokens, seed, 'with-graph', 0, target);
      await shared.backwardRows(batch, rows, tokens, seed, gradients, 0, graph ?? null);
      await shared.backwardRows(batch, rows, tokens, seed, gradients, 0, null);
    };
    const list = (...tensors: TensorHandle[]) => new (native().TensorListHandle)(tensors);
    const adapter = { layer: 'encoder.layer.0.output.dense', rank: 2, scale: 1, dropout: 0 };
    const calls: GoodCall[] = [
      {
        name: 'EncoderHandle',
        make: () => [settings, 'float32', 'cpu', ['embeddings.word_embeddings.weight'], [adapter]],
        use: (given: Partial<typeof settings> | null, ...args: [never, never, never, never]) => {
          new (native().EncoderHandle)(given as never, ...args).dispose();
        },
      },
      {
        name: 'batch',
        make: () => [Int32Array.of(3, 4, 19), Int32Array.of(0, 2, 3), Int32Array.of(5, 6)],
        use: async (...args: [never, never, never]) => {
          (await shared.batch(...args)).dispose();
        },
      },
      { name: 'both passes', make: () => [...chunk(), 'without-graph', tensor(2, 4)], use: passes },
      { name: 'both passes of rows', make: () => [...chunk(), tensor(2, 4), tensor(2, 4)], use: rowPasses },
      {
        name: 'TensorListHandle',
        make: () => [[tensor(2), tensor(3, 2)], Int32Array.of(1, 0), Int32Array.of(7, 7)],
        use: async (tensors: never, places: never, keys: never) => {
          const some = new (native().TensorListHandle)(tensors).select(places);
          some.gradients().gradients.dispose();
          some.alike(keys);
          await Promise.all([some.norm(), some.anyNonZero()]);
          some.dispose();
        },
      },
      {
        name: 'graphBytes',
        make: () => [5, 2],
        use: (...args: [never, never]) => shared.graphBytes(...args),
      },
      exported('tensorFromBytes', () => [new Float32Array(6), [2, 3], 'float32', 'cpu']),
      exported('isTensor', () => [tensor(2)]),
      exported('putRows', () => [tensor(3, 2), Int32Array.of(2, 0), tensor(2, 2)]),
      exported('takeRows', () => [tensor(3, 2), Int32Array.of(2, 0)]),
      exported('requireDense', () => [['a'], list(tensor(2))]),
      exported('requireAlike', () => [
        'gradient',
        ['a', 'b'],
        list(tensor(2), tensor(2, 3)),
        list(tensor(2), tensor(2, 3)),
      ]),
      exported('loss', () => ['info_nce', [tensor(2, 4), tensor(2, 4)], lossSettings]),
      exported('leaves', () => [tensor(2), [tensor(2)]]),
      exported('memory', () => ['cpu']),
      exported('synchronize', () => ['cpu']),
      exported('cancel', () => [2 ** 40]),
      exported('withSeed', () => [3, () => 1]),
      exported('withGradMode', () => [false, () => 1]),
      exported('backward', () => {
        const leaf = tensor(2);
        leaf.requiresGrad = true;
        const root = new (native().OperatorHandle)('aten::mul', 'Scalar').call([leaf, 2]);
        return [[root], [tensor(2)], 0];
      }),
      {
        name: 'OperatorHandle',
        make: () => ['aten::add', 'Tensor', [tensor(2), tensor(2)], { alpha: 2 }],
        use: (name: never, overload: never, ...args: [never, never]) =>
          new (native().OperatorHandle)(name, overload).call(...args),
      },
      {
        name: 'copyTo',
        make: () => [tensor(2), new Float32Array(2).buffer, 'float32'],
        use: (from: TensorHandle, ...args: [never, never]) => from.copyTo(...args),
      },
      {
        name: 'copyToSync',
        make: () => [tensor(2), new Float32Array(2).buffer, 'float32'],
        use: (from: TensorHandle, ...args: [never, never]) => from.copyToSync(...args),
      },
    ];
    const attempt = disturbedCalls(calls);
    return (random, tell) => typed(() => attempt(random, tell));
  },
};
