import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  infoNCE,
  matryoshka,
  ntXent,
  sigLIP,
  Tensor,
  type InfoNCEOptions,
  type LossPrecision,
  type LossWithGradients,
  type MatryoshkaOptions,
} from '../../lib/index.js';

/** Rows near those of the first tower, of numbers from a fixed sequence. */
function towers(counts: readonly number[], dimension: number, noise = 1): Tensor[] {
  let state = 7;
  const next = () => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return state / 2 ** 30 - 1;
  };
  const first = Float32Array.from({ length: counts[0]! * dimension }, next);
  return counts.map((count, tower) =>
    Tensor.from(
      Float32Array.from({ length: count * dimension }, (_, i) =>
        tower === 0 ? first[i]! : first[i % first.length]! + noise * next(),
      ),
      { shape: [count, dimension] },
    ),
  );
}

const norm = (numbers: Float64Array): number => Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0));

/** A gradient below this is what rounding leaves of none. */
const LEAST = 1e-3;

/** |a - b| / |b| of some columns. */
function relativeError(a: Tensor, b: Tensor, from = 0, to = b.shape[1]!): number {
  const [ours, theirs] = [a, b].map(
    (tensor) =>
      tensor
        .narrow(1, from, to - from)
        .to({ dtype: 'float64' })
        .clone()
        .valuesSync() as Float64Array,
  ) as [Float64Array, Float64Array];
  const off = norm(theirs.map((x, i) => ours[i]! - x));
  return off / Math.max(norm(theirs), LEAST);
}

interface Case {
  readonly title: string;
  readonly of: readonly Tensor[];
  readonly lengths: MatryoshkaOptions;
  readonly make: (precision: LossPrecision) => LossWithGradients;
  readonly trained?: readonly boolean[];
  readonly limit?: number;
}

const info =
  (options: InfoNCEOptions = {}) =>
  (precision: LossPrecision) =>
    infoNCE({ ...options, precision });
const five = { dimensions: [192, 128, 96, 64, 32] };
const pairs = towers([300, 300], 192);
/** Positives equal their anchors, and all else is orthogonal at every length. */
const apart = (count: number) => {
  const rows = Float32Array.from({ length: count * 192 }, (_, i) => {
    const [row, column] = [Math.floor(i / 192), i % 192];
    return column % 32 === row ? 1 : 0;
  });
  return [0, 1].map(() => Tensor.from(rows, { shape: [count, 192] }));
};
const opposite = (() => {
  const [first, second] = towers([40, 40], 192, 0.2) as [Tensor, Tensor];
  return [first.add(3), second.sub(3)];
})();
const zeroBeginning = (() => {
  const [first, second] = towers([50, 50], 192) as [Tensor, Tensor];
  call('aten::mul_.Scalar', first.narrow(0, 3, 1).narrow(1, 0, 32), 0);
  return [first, second];
})();

const cases: readonly Case[] = [
  { title: 'five lengths', of: pairs, lengths: five, make: info() },
  { title: 'both directions', of: pairs, lengths: five, make: info({ symmetric: true }) },
  { title: 'one length', of: pairs, lengths: { dimensions: [64] }, make: info() },
  {
    title: 'a longest length below the dimension',
    of: pairs,
    lengths: { dimensions: [128, 64, 32] },
    make: info({ symmetric: true }),
  },
  {
    title: 'lengths drawn for the step',
    of: pairs,
    lengths: { ...five, dimensionsPerStep: 2, seed: 3 },
    make: info(),
  },
  {
    title: 'nine lengths, more than are built up',
    of: pairs,
    lengths: { dimensions: [192, 160, 128, 96, 80, 64, 48, 32, 16] },
    make: info(),
  },
  {
    title: 'several rectangles, hard negatives, lengths without weight',
    of: towers([700, 700, 301, 33], 192),
    lengths: { dimensions: [192, 128, 64], weights: [1, 0, 0.5] },
    make: info({
      temperature: 0.1,
      hardnessMode: 'all_negatives',
      hardnessStrength: 1,
      labelSmoothing: 0.1,
      directions: ['query_to_doc', 'doc_to_query', 'query_to_query'],
    }),
  },
  {
    title: 'anchors that are not trained',
    of: pairs,
    lengths: five,
    make: info({ symmetric: true }),
    trained: [false, true],
  },
  {
    title: 'negatives far below the positives',
    of: apart(2),
    lengths: five,
    make: info({ temperature: 1 / 70 }),
  },
  {
    title: 'the same in both directions',
    of: apart(30),
    lengths: five,
    make: info({ temperature: 1 / 70, symmetric: true }),
  },
  { title: 'the same at a low temperature', of: apart(2), lengths: five, make: info({ temperature: 0.01 }) },
  {
    title: 'positives far below 0',
    of: opposite,
    lengths: five,
    make: info({ temperature: 1 / 70, symmetric: true }),
    limit: 2e-2,
  },
  {
    title: 'the same at a low temperature',
    of: opposite,
    lengths: five,
    make: info({ temperature: 0.01 }),
    limit: 2e-2,
  },
  { title: 'a beginning of zeros', of: zeroBeginning, lengths: five, make: info() },
  { title: 'NT-Xent', of: pairs, lengths: five, make: (precision) => ntXent({ precision }) },
  { title: 'SigLIP', of: pairs, lengths: five, make: (precision) => sigLIP({ precision, learned: false }) },
];

for (const { title, of, lengths, make, trained, limit = 3e-3 } of cases)
  test(`several lengths in half precision have the loss and gradients of the exact loss: ${title}`, async () => {
    const [fast, exact] = [
      await matryoshka(make('fast'), lengths).compute(of, 0.5, {}, trained),
      await matryoshka(make('exact'), lengths).compute(
        of.map((tower) => tower.to({ dtype: 'float64' })),
        0.5,
        {},
        trained,
      ),
    ] as const;
    assert.ok(
      Math.abs(fast.loss - exact.loss) <= limit * (1 + exact.loss),
      `${fast.loss}, exact ${exact.loss}`,
    );
    for (const [tower, gradient] of fast.gradients.entries()) {
      const expected = exact.gradients[tower]!;
      if (trained?.[tower] === false) {
        assert.equal(gradient, null);
        continue;
      }
      assert.deepEqual(gradient!.shape, of[tower]!.shape);
      const whole = relativeError(gradient!, expected);
      assert.ok(whole <= limit, `tower ${tower}: ${whole}`);
      // What only the longest length has.
      const last = relativeError(gradient!, expected, 128, 192);
      assert.ok(last <= 3 * limit, `the last numbers of tower ${tower}: ${last}`);
    }
  });

test('the slope of a learned temperature is that of the exact loss at all lengths', async () => {
  const slopes = [];
  for (const precision of ['fast', 'exact'] as const) {
    const loss = infoNCE({ temperature: { initial: 0.05, learned: true }, symmetric: true, precision });
    await matryoshka(loss, { ...five, weights: [1, 2, 0, 0.5, 1] }).compute(pairs, 0.5, {});
    slopes.push(loss.parameters()[0]!.tensor.grad!.item());
  }
  const [fast, exact] = slopes as [number, number];
  assert.ok(Math.abs(fast - exact) <= 3e-3 * Math.abs(exact), `${fast}, exact ${exact}`);
});
