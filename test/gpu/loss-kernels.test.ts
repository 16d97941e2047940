import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  backward,
  call,
  emptyCache,
  GradCache,
  infoNCE,
  matryoshka,
  memory,
  resetPeakMemory,
  sigLIP,
  withGrad,
  withSeed,
  type InfoNCEOptions,
  type LossPrecision,
  type LossWithGradients,
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

async function lossAndGradients(made: LossWithGradients, towers: readonly Tensor[]) {
  const { loss, gradients } = await made.compute(towers, 1, {});
  return { loss, gradients: gradients as readonly Tensor[] };
}

/** |a - b| / |b|, on the device. */
function relativeError(a: Tensor, b: Tensor): number {
  const wide = b.to({ dtype: 'float64' });
  const norm = (tensor: Tensor): number => call<Tensor>('aten::linalg_vector_norm', tensor).item();
  return norm(a.to({ dtype: 'float64' }).sub(wide)) / norm(wide);
}

/** How far gradients by libtorch's operators are from those of float64, for each tower. */
type Yardstick = (
  towers: readonly Tensor[],
  expected: readonly Tensor[],
  rows: 'float32' | 'bfloat16',
) => Promise<readonly number[]>;

/** InfoNCE of inner products in both directions; 1 - p of a positive is computed without cancellation. */
function bothDirections(temperature: number, [anchors, ...columns]: readonly Tensor[]): Tensor {
  const candidates: Tensor = call('aten::cat', columns, 0);
  const scores = anchors!.matmul(candidates.t()).div(temperature);
  const [rows, all] = scores.shape as [number, number];
  const own: Tensor = call('aten::eye.m', rows, all, { dtype: 'bool', device });
  const negatives: Tensor = call('aten::masked_fill.Scalar', scores, own, -Infinity);
  const positives: Tensor = call('aten::diagonal', scores);
  const ofRest = (scores: Tensor, along: number): Tensor => {
    const rest: Tensor = call('aten::logsumexp', scores, [along]);
    return call<Tensor>('aten::softplus', rest.sub(positives)).mean();
  };
  return ofRest(negatives, 1)
    .add(ofRest(negatives.narrow(1, 0, rows), 0))
    .div(2);
}

/** Of InfoNCE in float32, of rows as they are or rounded to bfloat16. */
function byOperators(options: { temperature: number; similarity?: 'dot' }): Yardstick {
  return async (towers, expected, type) => {
    const leaves = towers.map((tower) => {
      const leaf = tower.clone();
      leaf.requiresGrad = true;
      return leaf;
    });
    const compared = (leaf: Tensor): Tensor => {
      const rows = options.similarity === 'dot' ? leaf : leaf.normalize();
      // What rounding changes is a constant: gradients are not rounded.
      return type === 'float32' ? rows : rows.add(rows.detach().to({ dtype: type }).sub(rows.detach()));
    };
    await backward([withGrad(() => bothDirections(options.temperature, leaves.map(compared)))], [null]);
    return leaves.map(({ grad }, tower) => relativeError(grad!, expected[tower]!));
  };
}

interface Case {
  readonly title: string;
  readonly counts: readonly number[];
  readonly dimension: number;
  readonly make: (precision: LossPrecision) => LossWithGradients;
  /** The relative error of gradients that is allowed in half precision, and in float32. */
  readonly fast?: number;
  readonly exact?: number;
  /**
   * With it the kernels may lose twice what the same computation by libtorch's operators loses, of float32 operands for `exact` and
   * of bfloat16 for `fast`: at least 1e-6 and 3e-3, and no more than the above.
   */
  readonly yardstick?: Yardstick;
}

const info =
  (options: InfoNCEOptions) =>
  (precision: LossPrecision): LossWithGradients =>
    infoNCE({ ...options, precision });
const pairs = { counts: [4096, 4096], dimension: 768 };
/** The same loss at several lengths. */
const nested =
  (dimensions: readonly number[], options: InfoNCEOptions, weights?: readonly number[]) =>
  (precision: LossPrecision): LossWithGradients =>
    matryoshka(infoNCE({ ...options, precision }), { dimensions, weights });
const five = [768, 512, 256, 128, 64];
const cases: readonly Case[] = [
  { title: '4,096 pairs', ...pairs, make: info({}) },
  { title: '4,096 pairs, both directions', ...pairs, make: info({ symmetric: true }) },
  {
    title: '4,096 pairs, a low temperature',
    ...pairs,
    make: info({ symmetric: true, temperature: 0.01 }),
    // Scores of up to 100 are off by more than those of 20.
    fast: 1e-2,
    exact: 2e-5,
    yardstick: byOperators({ temperature: 0.01 }),
  },
  {
    title: '4,096 pairs, a high temperature',
    ...pairs,
    make: info({ symmetric: true, temperature: 100 }),
  },
  {
    title: 'inner products',
    counts: [3000, 3000],
    dimension: 384,
    make: info({ symmetric: true, similarity: 'dot', temperature: 30 }),
    exact: 5e-6,
    yardstick: byOperators({ similarity: 'dot', temperature: 30 }),
  },
  {
    title: 'odd sizes, hard negatives',
    counts: [4097, 4097, 1001, 77],
    dimension: 203,
    make: info({ symmetric: true }),
    exact: 3e-6,
    yardstick: byOperators({ temperature: 0.05 }), // negatives have small gradients
  },
  {
    title: 'anchors with each other',
    counts: [2049, 2049],
    dimension: 65,
    make: info({ directions: ['query_to_doc', 'query_to_query'] }),
    exact: 2e-6,
  },
  {
    title: 'hardness, label smoothing, a margin, documents with each other',
    counts: [2100, 2100, 2100],
    dimension: 96,
    make: info({
      temperature: 0.1,
      hardnessMode: 'in_batch_negatives',
      hardnessStrength: 2,
      labelSmoothing: 0.1,
      margin: 0.1,
      directions: ['query_to_doc', 'doc_to_query', 'doc_to_doc'],
    }),
    exact: 5e-6,
  },
  {
    title: 'SigLIP',
    ...pairs,
    make: (precision) => sigLIP({ precision, learned: false }),
  },
  {
    title: 'SigLIP, odd sizes, inner products',
    counts: [2101, 2101, 33],
    dimension: 203,
    make: (precision) => sigLIP({ precision, learned: false, similarity: 'dot', scale: 0.02, bias: -3 }),
    exact: 5e-6,
  },
  { title: 'five lengths', ...pairs, make: nested(five, {}), exact: 5e-6 },
  { title: 'five lengths, both directions', ...pairs, make: nested(five, { symmetric: true }), exact: 5e-6 },
  {
    title: 'three lengths, odd sizes, hard negatives, anchors with each other, one length without weight',
    counts: [2101, 2101, 1001, 77],
    dimension: 192,
    make: nested(
      [192, 128, 64],
      {
        temperature: 0.1,
        hardnessMode: 'all_negatives',
        hardnessStrength: 1,
        labelSmoothing: 0.1,
        directions: ['query_to_doc', 'doc_to_query', 'query_to_query'],
      },
      [1, 0, 0.5],
    ),
    exact: 2e-5,
  },
  {
    title: 'lengths that no kernel builds up',
    counts: [2101, 2101],
    dimension: 203,
    make: nested([203, 100, 65], { symmetric: true }),
    exact: 5e-6,
  },
];

for (const { title, counts, dimension, make, fast = 3e-3, exact = 1e-6, yardstick } of cases) {
  test(`the kernels' loss and gradients are those of float64: ${title}`, { skip: onCpu }, async () => {
    const towers = representations(counts, dimension);
    const expected = await lossAndGradients(
      make('exact'),
      towers.map((tower) => tower.to({ dtype: 'float64' })),
    );
    for (const [precision, rows, least, most] of [
      ['fast', 'bfloat16', 3e-3, fast],
      ['exact', 'float32', 1e-6, exact],
    ] as const) {
      const plain = (await yardstick?.(towers, expected.gradients, rows)) ?? [];
      const allowed =
        plain.length === 0 ? most : Math.min(most, Math.max(least, ...plain.map((error) => 2 * error)));
      const found = await lossAndGradients(make(precision), towers);
      const off = Math.abs(found.loss - expected.loss);
      assert.ok(
        off <= allowed * (1 + expected.loss),
        `${precision} loss ${found.loss}, not ${expected.loss}`,
      );
      const errors = found.gradients.map((gradient, tower) =>
        relativeError(gradient, expected.gradients[tower]!),
      );
      const say = (all: readonly number[]): string => all.map((error) => error.toExponential(1)).join(', ');
      console.log(
        `${title}, ${precision}: ${say(errors)}${plain.length > 0 ? `; by operators ${say(plain)}` : ''}`,
      );
      for (const [tower, error] of errors.entries())
        assert.ok(error <= allowed, `${precision}, tower ${tower}: relative error ${error}`);
      const again = await lossAndGradients(make(precision), towers);
      assert.equal(again.loss, found.loss);
      for (const [tower, gradient] of again.gradients.entries())
        assert.equal(
          relativeError(gradient, found.gradients[tower]!),
          0,
          `${precision}, tower ${tower} twice`,
        );
    }
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

test(
  'several lengths in several rectangles have the gradients of the exact loss',
  { skip: onCpu },
  async () => {
    const towers = representations([20_001, 20_001], 192);
    const options = { symmetric: true, temperature: { initial: 0.05, learned: true } } as const;
    for (const [what, shrunk, limit] of [
      ['as they are', 1, 3e-3],
      // Beyond what factors of rows may be: one length after the other.
      ['with short beginnings', 1e-3, 3e-3],
    ] as const) {
      for (const tower of towers) call('aten::mul_.Scalar', tower.narrow(1, 0, 64), shrunk);
      const losses = (['fast', 'exact'] as const).map((precision) => infoNCE({ ...options, precision }));
      const all = losses.map((loss) =>
        matryoshka(loss, { dimensions: [192, 128, 64], weights: [1, 2, 0.5] }),
      );
      for (const trained of [
        [true, true],
        [true, false],
        [false, true],
      ]) {
        const [fast, exact] = [
          await all[0]!.compute(towers, 0.5, {}, trained),
          await all[1]!.compute(towers, 0.5, {}, trained),
        ] as const;
        assert.ok(
          Math.abs(fast.loss - exact.loss) <= 5e-3,
          `${what}: loss ${fast.loss}, exact ${exact.loss}`,
        );
        for (const [tower, gradient] of fast.gradients.entries()) {
          assert.equal(gradient !== null, trained[tower]);
          if (gradient === null) continue;
          const error = relativeError(gradient, exact.gradients[tower]!);
          console.log(`${what}, trained ${trained.join(', ')}, tower ${tower}: ${error.toExponential(1)}`);
          assert.ok(error <= limit, `${what}: tower ${tower}, ${error}`);
        }
        const [ours, theirs] = losses.map((loss) => loss.parameters()[0]!.tensor.grad!.item());
        assert.ok(Math.abs(ours! - theirs!) <= 3e-3 * Math.abs(theirs!), `slope ${ours}, exact ${theirs}`);
      }
    }
  },
);

test('its memory beyond representations and gradients is bounded', { skip: onCpu }, async () => {
  const [count, dimension] = [262_144, 768];
  const towers = representations([count, count], dimension);
  for (const precision of ['fast', 'exact'] as const) {
    emptyCache(device);
    resetPeakMemory(device);
    const before = memory(device).allocated;
    const { gradients } = await infoNCE({ symmetric: true, precision }).compute(towers, 1, {});
    const beyond = memory(device).peak - before - 2 * count * dimension * 4;
    assert.ok(beyond <= 1.5 * GIB, `${precision}: ${beyond / GIB} GiB`);
    for (const gradient of gradients) gradient?.dispose();
  }
  for (const tensor of towers) tensor.dispose();
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
