import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  emptyCache,
  GradCache,
  infoNCE,
  memory,
  resetPeakMemory,
  withSeed,
  type InfoNCEOptions,
  type Tensor,
} from '../../lib/index.js';
import { gradientCosines } from '../../bench/gpu/checks.js';
import { createEncoder, type Shape } from '../../bench/gpu/models.js';
import { device, mixedLengths, tokens } from './support.js';

const GIB = 2 ** 30;
const onCpu = device === 'cpu' && 'it needs a GPU';

/** Towers of `counts` rows, each near the anchor of its number. */
function representations(counts: readonly number[], dimension: number, noise = 2): Tensor[] {
  return withSeed(1, () => {
    const drawn = (count: number): Tensor => call('aten::randn', [count, dimension], { device });
    const anchors = drawn(counts[0]!);
    return counts.map((count, tower) =>
      tower === 0 ? anchors : anchors.narrow(0, 0, count).add(drawn(count).mul(noise)),
    );
  });
}

async function lossAndGradients(options: InfoNCEOptions, towers: readonly Tensor[]) {
  const { loss, gradients } = await infoNCE(options).compute(towers, 1, {});
  return { loss, gradients: gradients as readonly Tensor[] };
}

/** |a - b| / |b|, on the device. */
function relativeError(a: Tensor, b: Tensor): number {
  const wide = b.to({ dtype: 'float64' });
  const norm = (tensor: Tensor): number => call<Tensor>('aten::linalg_vector_norm', tensor).item();
  return norm(a.to({ dtype: 'float64' }).sub(wide)) / norm(wide);
}

const cases: readonly [string, readonly number[], number, InfoNCEOptions][] = [
  ['4,096 pairs', [4096, 4096], 768, {}],
  ['4,096 pairs, both directions', [4096, 4096], 768, { symmetric: true }],
  ['4,096 pairs, a low temperature', [4096, 4096], 768, { symmetric: true, temperature: 0.01 }],
  ['4,096 pairs, a high temperature', [4096, 4096], 768, { symmetric: true, temperature: 100 }],
  ['inner products', [3000, 3000], 384, { symmetric: true, similarity: 'dot', temperature: 30 }],
  ['odd sizes, hard negatives', [4097, 4097, 1001, 77], 203, { symmetric: true }],
  ['anchors with each other', [2049, 2049], 65, { directions: ['query_to_doc', 'query_to_query'] }],
];

for (const [title, counts, dimension, options] of cases) {
  test(`the kernels' loss and gradients are those of float64: ${title}`, { skip: onCpu }, async () => {
    const towers = representations(counts, dimension);
    const fast = await lossAndGradients({ ...options, precision: 'fast' }, towers);
    const exact = await lossAndGradients(
      options,
      towers.map((tower) => tower.to({ dtype: 'float64' })),
    );
    assert.ok(Math.abs(fast.loss - exact.loss) <= 3e-3, `loss ${fast.loss}, exact ${exact.loss}`);
    for (const [tower, gradient] of fast.gradients.entries()) {
      const error = relativeError(gradient, exact.gradients[tower]!);
      // Scores of up to 100 are off by more than those of 20.
      const allowed = options.temperature === 0.01 ? 1e-2 : 3e-3;
      assert.ok(error <= allowed, `tower ${tower}: relative error ${error}`);
    }
    const again = await lossAndGradients({ ...options, precision: 'fast' }, towers);
    assert.equal(again.loss, fast.loss);
    for (const [tower, gradient] of again.gradients.entries())
      assert.equal(relativeError(gradient, fast.gradients[tower]!), 0, `tower ${tower} twice`);
  });
}

test('a batch of several rectangles has the gradients of the exact loss', { skip: onCpu }, async () => {
  const towers = representations([70_001, 70_001], 64);
  const options = { symmetric: true, temperature: { initial: 0.05, learned: true } } as const;
  const losses = (['fast', 'exact'] as const).map((precision) => infoNCE({ ...options, precision }));
  const [fast, exact] = [
    await losses[0]!.compute(towers, 1, {}),
    await losses[1]!.compute(towers, 1, {}),
  ] as const;
  assert.ok(Math.abs(fast.loss - exact.loss) <= 3e-3, `loss ${fast.loss}, exact ${exact.loss}`);
  for (const tower of [0, 1])
    assert.ok(relativeError(fast.gradients[tower]!, exact.gradients[tower]!) <= 3e-3, `tower ${tower}`);
  const [ours, theirs] = losses.map((loss) => loss.parameters()[0]!.tensor.grad!.item());
  assert.ok(Math.abs(ours! - theirs!) <= 3e-3 * Math.abs(theirs!), `slope ${ours}, exact ${theirs}`);
});

test('its memory beyond representations and gradients is bounded', { skip: onCpu }, async () => {
  const [pairs, dimension] = [262_144, 768];
  const towers = representations([pairs, pairs], dimension);
  emptyCache(device);
  resetPeakMemory(device);
  const before = memory(device).allocated;
  const { gradients } = await infoNCE({ symmetric: true, precision: 'fast' }).compute(towers, 1, {});
  const beyond = memory(device).peak - before - 2 * pairs * dimension * 4;
  assert.ok(beyond <= 1.5 * GIB, `${beyond / GIB} GiB`);
  for (const tensor of [...towers, ...gradients]) tensor?.dispose();
  emptyCache(device);
});

test('the gradient of a whole model has the direction of the exact loss', { skip: onCpu }, async () => {
  const shape: Shape = {
    hidden: 256,
    layers: 4,
    heads: 4,
    intermediate: 1024,
    vocabulary: 3000,
    positions: 512,
  };
  const batches = [1, 2].map((seed) => tokens(mixedLengths(1024, 40), shape.vocabulary, seed));
  const encoders = [];
  for (const precision of ['fast', 'exact'] as const) {
    const encoder = await createEncoder(shape, { device, precision: 'bfloat16', dropout: 0, seed: 3 });
    const loss = infoNCE({ temperature: 0.05, precision });
    await new GradCache({ encoders: [encoder, encoder], loss, chunk: { tokens: 8000 } }).step(batches);
    encoders.push(encoder);
  }
  const { whole } = await gradientCosines(encoders[0]!, encoders[1]!);
  assert.ok(whole >= 0.9999, `cosine ${whole}`);
  for (const encoder of encoders) encoder.dispose();
});
