import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  GradCache,
  infoNCE,
  ModuleEncoder,
  withSeed,
  type Loss,
  type Retain,
  type Tensor,
} from '../../lib/index.js';
import { device } from '../exactness/support.js';

const random = (shape: number[], seed: number): Tensor =>
  withSeed(seed, () => call('aten::randn', shape, { device }));

const leaf = (seed: number): Tensor => {
  const tensor = random([4, 4], seed);
  tensor.requiresGrad = true;
  return tensor;
};

/** Two towers that train a weight of their own and reach one that no list of parameters names. */
function towers(lossReaches: boolean) {
  const own = leaf(1);
  const unlisted = leaf(2);
  const make = (): ModuleEncoder =>
    new ModuleEncoder({
      forward: (rows: Tensor) => rows.matmul(own).tanh().matmul(unlisted),
      parameters: () => [{ name: 'own', tensor: own, decay: true }],
    });
  const ofRepresentations: Loss = (a, b) => a.matmul(unlisted).matmul(b.t()).logSoftmax(1).mean().neg();
  return { encoders: [make(), make()], unlisted, loss: lossReaches ? ofRepresentations : infoNCE() };
}

const batches = [random([9, 4], 3), random([9, 4], 4)];

const bits = (tensor: Tensor | null) => tensor?.valuesSync() ?? null;

for (const lossReaches of [false, true]) {
  for (const retain of ['last', { bytes: 0 }] as const satisfies readonly Retain[]) {
    const title = `${lossReaches ? 'towers and loss' : 'towers'}, ${JSON.stringify(retain)}`;
    test(`a weight that nobody lists has its gradient back after a step that fails: ${title}`, async () => {
      const { encoders, unlisted, loss } = towers(lossReaches);
      const gradcache = new GradCache({ encoders, loss, chunk: { sequences: 2 }, retain });
      const failing = async (chunks: number): Promise<void> => {
        let left = chunks;
        const onProgress = ({ phase }: { phase: string }): void => {
          if (phase === 'backward' && left-- === 0) throw new Error('as if');
        };
        await assert.rejects(gradcache.step(batches, { seed: 5, onProgress }), /as if/);
      };
      for (const chunks of [0, 1, 6]) {
        await failing(chunks);
        assert.equal(unlisted.grad, null);
      }
      await gradcache.step(batches, { seed: 5 });
      const once = bits(unlisted.grad);
      for (const chunks of [0, 1, 6]) {
        await failing(chunks);
        assert.deepEqual(bits(unlisted.grad), once);
      }
    });
  }
}
