import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  infoNCE,
  multipleNegativesRanking,
  ntXent,
  sigLIP,
  Tensor,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import { relativeError } from '../oracle/compare.js';
import { device } from './support.js';

type Rows = { values: Float32Array; shape: [number, number] };

/** Rows that look random; where there are others, they lie around those. */
function rows(count: number, dimension: number, seed: number, around?: Rows, noise = 1): Rows {
  const values = Float32Array.from({ length: count * dimension }, (_, i) => {
    const drawn = Math.sin(i * 1.7 + seed * ((i * i) % 7919));
    return around === undefined ? drawn : around.values[i % around.values.length]! + noise * drawn;
  });
  return { values, shape: [count, dimension] };
}

function pairs(count: number, dimension: number, noise: number): Rows[] {
  const anchors = rows(count, dimension, 1);
  return [anchors, rows(count, dimension, 2, anchors, noise)];
}

const same = (count: number): Rows => {
  const one = rows(1, 24, 3).values;
  return { values: Float32Array.from({ length: count * 24 }, (_, i) => one[i % 24]!), shape: [count, 24] };
};

interface Results {
  readonly loss: number;
  readonly gradients: readonly (Float32Array | Float64Array)[];
}

async function results(
  loss: LossWithGradients,
  towers: readonly Rows[],
  options: LossOptions,
  where: { dtype: 'float32' | 'float64'; device: string },
): Promise<Results> {
  const tensors = towers.map(({ values, shape }) =>
    Tensor.from(where.dtype === 'float64' ? Float64Array.from(values) : values, {
      shape,
      device: where.device,
    }),
  );
  const { loss: value, gradients } = await loss.compute(tensors, 1, options);
  const all = gradients.map(async (gradient) => (await gradient!.values()) as Float32Array);
  return { loss: value, gradients: await Promise.all(all) };
}

type Precision = 'exact' | 'fast';
interface Case {
  readonly title: string;
  readonly towers: readonly Rows[];
  readonly options?: LossOptions;
  readonly error?: number;
  readonly make: (precision: Precision) => LossWithGradients;
}

const BOTH = ['query_to_doc', 'doc_to_query'] as const;
const three = [...pairs(600, 24, 1), rows(131, 24, 5)];
const cases: Case[] = [
  {
    title: 'one direction',
    towers: pairs(700, 96, 3),
    make: (precision) => infoNCE({ precision }),
  },
  {
    title: 'positives that dominate',
    towers: pairs(600, 64, 0.2),
    make: (precision) => infoNCE({ precision, symmetric: true }),
  },
  {
    title: 'both directions, a width that is no multiple of 8',
    towers: pairs(601, 13, 1),
    make: (precision) => infoNCE({ precision, symmetric: true, temperature: 0.1 }),
  },
  {
    title: 'one softmax over three directions, weights',
    towers: pairs(257, 32, 1),
    options: { weights: Float64Array.from({ length: 257 }, (_, i) => i % 5) },
    make: (precision) =>
      multipleNegativesRanking({ precision, directions: [...BOTH, 'query_to_query'], scale: 10 }),
  },
  {
    title: 'hard negatives, targets that several anchors share',
    towers: three,
    options: { targets: Int32Array.from({ length: 600 }, (_, i) => (i * 13) % 731) },
    make: (precision) => infoNCE({ precision, symmetric: true, temperature: 0.1 }),
  },
  { title: 'hard negatives', towers: three, make: (precision) => infoNCE({ precision, temperature: 0.1 }) },
  {
    title: 'one pair',
    towers: pairs(1, 24, 1),
    make: (precision) => infoNCE({ precision, symmetric: true }),
  },
  {
    title: 'one pair and negatives',
    towers: [...pairs(1, 24, 1), rows(9, 24, 5)],
    make: (precision) => infoNCE({ precision, symmetric: true }),
  },
  {
    title: 'identical rows',
    towers: [same(70), same(70)],
    make: (precision) => infoNCE({ precision, temperature: 0.1 }),
  },
  {
    title: 'a low temperature',
    towers: pairs(300, 256, 2),
    error: 1e-2,
    make: (precision) => infoNCE({ precision, symmetric: true, temperature: 0.01 }),
  },
  {
    title: 'a high temperature',
    towers: pairs(300, 40, 2),
    make: (precision) => infoNCE({ precision, symmetric: true, temperature: 100 }),
  },
  {
    title: 'inner products, a bias',
    towers: pairs(520, 32, 1),
    make: (precision) => infoNCE({ precision, symmetric: true, similarity: 'dot', temperature: 8, bias: -3 }),
  },
  {
    title: 'NT-Xent, further candidates',
    towers: three,
    make: (precision) => ntXent({ precision, temperature: 0.1 }),
  },
  {
    title: 'a margin, both directions',
    towers: pairs(300, 24, 1),
    make: (precision) => infoNCE({ precision, symmetric: true, margin: 0.3, temperature: 0.1 }),
  },
  {
    title: 'label smoothing, a bias, three directions',
    towers: three,
    make: (precision) =>
      infoNCE({
        precision,
        directions: [...BOTH, 'query_to_query'],
        labelSmoothing: 0.2,
        margin: 0.1,
        bias: 2,
        temperature: 0.1,
      }),
  },
  ...(['all_negatives', 'in_batch_negatives', 'hard_negatives'] as const).map((hardnessMode) => ({
    title: `hardness of ${hardnessMode}, label smoothing`,
    towers: [...pairs(400, 24, 1), rows(400, 24, 5)],
    make: (precision: Precision) =>
      infoNCE({
        precision,
        hardnessMode,
        hardnessStrength: 3,
        labelSmoothing: 0.1,
        directions: BOTH,
        temperature: 0.2,
      }),
  })),
  {
    title: 'several positives of an anchor, that others share',
    towers: three,
    options: {
      targets: Array.from({ length: 600 }, (_, i) =>
        Array.from({ length: 1 + (i % 3) }, (_, k) => (i * 13 + k * 97) % 731),
      ),
    },
    make: (precision) => infoNCE({ precision, directions: BOTH, temperature: 0.1 }),
  },
  {
    title: 'documents with each other',
    towers: [...pairs(400, 24, 1), rows(400, 24, 5)],
    make: (precision) =>
      infoNCE({ precision, directions: ['query_to_doc', 'doc_to_doc', 'query_to_query'], temperature: 0.1 }),
  },
  { title: 'SigLIP', towers: three, make: (precision) => sigLIP({ precision, scale: 5, bias: -4 }) },
  {
    title: 'SigLIP, several positives, inner products',
    towers: pairs(300, 24, 1),
    options: { targets: Array.from({ length: 300 }, (_, i) => (i % 4 === 0 ? [i, (i + 7) % 300] : [i])) },
    make: (precision) => sigLIP({ precision, scale: 0.3, bias: -2, similarity: 'dot' }),
  },
  { title: 'NT-Xent of one example', towers: pairs(1, 24, 1), make: (precision) => ntXent({ precision }) },
];

for (const { title, towers, options = {}, error = 3e-3, make } of cases) {
  test(`in half precision value and gradients are those of float64: ${title}`, async () => {
    const exact = await results(make('exact'), towers, options, { dtype: 'float64', device: 'cpu' });
    const fast = await results(make('fast'), towers, options, { dtype: 'float32', device });
    const off = Math.abs(fast.loss - exact.loss);
    assert.ok(off <= error * (1 + exact.loss), `loss ${fast.loss}, exact ${exact.loss}`);
    for (const [tower, gradient] of fast.gradients.entries()) {
      const expected = exact.gradients[tower]!;
      if (expected.every((each) => Math.abs(each) < 1e-12)) {
        assert.ok(gradient.every((each) => Math.abs(each) < 1e-4)); // of parts that cancel
        continue;
      }
      const found = relativeError(gradient, expected);
      assert.ok(found <= error, `tower ${tower}: relative error ${found}`);
    }
    const again = await results(make('fast'), towers, options, { dtype: 'float32', device });
    assert.deepEqual(again, fast, 'the same bits twice');
  });
}

test('in half precision the slope of a learned temperature is that of float64', async () => {
  for (const [title, loss] of Object.entries({
    margin: (precision: Precision) =>
      infoNCE({ precision, margin: 0.2, labelSmoothing: 0.1, temperature: { initial: 0.1, learned: true } }),
    sigLIP: (precision: Precision) => sigLIP({ precision, scale: 4, bias: -3 }),
    infoNCE: (precision: Precision) =>
      infoNCE({ precision, symmetric: true, temperature: { initial: 0.1, learned: true } }),
    ntXent: (precision: Precision) => ntXent({ precision, temperature: { initial: 0.1, learned: true } }),
  })) {
    const slopes: number[][] = [];
    for (const [precision, dtype, where] of [
      ['exact', 'float64', 'cpu'],
      ['fast', 'float32', device],
    ] as const) {
      const made = loss(precision);
      await results(made, three, {}, { dtype, device: where });
      slopes.push(made.parameters().map(({ tensor }) => tensor.grad!.item()));
    }
    const [expected, found] = slopes as [number[], number[]];
    for (const [k, slope] of expected.entries())
      assert.ok(Math.abs(found[k]! - slope) <= 3e-3 * Math.abs(slope), `${title}: ${found[k]} for ${slope}`);
  }
});

test('what half precision cannot do is refused, and the way out is told', async () => {
  const refused = { code: 'INPUT', message: /precision.*exact/ };
  for (const make of [infoNCE, ntXent, sigLIP])
    assert.throws(() => make({ precision: 'half' as 'fast' }), { code: 'INPUT', message: /exact.*fast/ });
  const towers = pairs(3, 8, 1);
  const float32 = { dtype: 'float32', device } as const;
  await assert.rejects(results(infoNCE({ precision: 'fast' }), towers, { ids: [1, 2, 1] }, float32), refused);
  const labels = {
    labels: [
      [0, 1, 1],
      [0, 1, 1],
    ],
  };
  await assert.rejects(results(ntXent({ precision: 'fast' }), towers, labels, float32), refused);
  const float64 = { dtype: 'float64', device } as const;
  await assert.rejects(results(infoNCE({ precision: 'fast' }), towers, {}, float64), {
    code: 'DTYPE',
    message: /'fast'.*float32.*'exact'/s,
  });
});

test('a value that is not finite is an error in half precision too', async () => {
  const [anchors, positives] = pairs(5, 8, 1) as [Rows, Rows];
  anchors.values[3] = NaN;
  await assert.rejects(
    results(infoNCE({ precision: 'fast' }), [anchors, positives], {}, { dtype: 'float32', device }),
    { code: 'NON_FINITE' },
  );
});
