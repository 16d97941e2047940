import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  batchAllTriplet,
  batchHardSoftMarginTriplet,
  batchHardTriplet,
  batchSemiHardTriplet,
  call,
  Tensor,
  type BatchDistance,
  type LossGradients,
  type LossWithGradients,
} from '../../lib/index.js';
import { Random } from '../../lib/data/random.js';
import { assertLikeTwin, assertNear, rowsOf, tensorOf, towersOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

/** Distances of all rows from each other, from their differences; none of them rounded from squares. */
function distancesOf(rows: Tensor, distance: BatchDistance): Tensor {
  const [count, dimension] = rows.shape as [number, number];
  if (distance === 'cosine') {
    const unit = rows.normalize();
    return unit.matmul(unit.t()).neg().add(1);
  }
  const difference = rows.reshape([count, 1, dimension]).sub(rows.reshape([1, count, dimension]));
  return call('aten::linalg_vector_norm', difference, 2, [-1]);
}

const mask = (labels: readonly number[], of: (i: number, j: number) => boolean): Tensor =>
  tensorOf(labels.map((_, i) => labels.map((_, j) => Number(of(i, j)))));

const positivesOf = (labels: readonly number[]): Tensor =>
  mask(labels, (i, j) => i !== j && labels[i] === labels[j]);

const negativesOf = (labels: readonly number[]): Tensor => mask(labels, (i, j) => labels[i] !== labels[j]);

type Twin = (distances: Tensor, labels: readonly number[], margin: number) => Tensor;

/** All triplets at once: [N, N, N]. */
const allTriplets: Twin = (distances, labels, margin) => {
  const count = labels.length;
  const valid = positivesOf(labels)
    .reshape([count, count, 1])
    .mul(negativesOf(labels).reshape([count, 1, count]));
  const terms = distances
    .reshape([count, count, 1])
    .sub(distances.reshape([count, 1, count]))
    .add(margin)
    .relu()
    .mul(valid);
  const [least] = call<Tensor>('aten::gt.Scalar', terms.detach(), 1e-16)
    .to({ dtype: 'float64' })
    .sum()
    .valuesSync() as Float64Array;
  return terms.sum().div(Math.max(least!, 1));
};

const hardest = (distances: Tensor, labels: readonly number[]): Tensor => {
  const farthest = call<[Tensor, Tensor]>('aten::max.dim', distances.mul(positivesOf(labels)), 1)[0];
  const others = mask(labels, (i, j) => labels[i] === labels[j]);
  const [most] = call<[Tensor, Tensor]>('aten::max.dim', distances, 1, true);
  return farthest.sub(call<[Tensor, Tensor]>('aten::min.dim', distances.add(most.mul(others)), 1)[0]);
};

/** Row by row, by the definition: the choice is made on numbers. */
const semiHard: Twin = (distances, labels, margin) => {
  const count = labels.length;
  const values = distances.valuesSync() as Float64Array;
  const at = (i: number, j: number): number => values[i * count + j]!;
  const [pairs, chosen]: [number[], number[]] = [[], []];
  for (let i = 0; i < count; i++)
    for (let j = 0; j < count; j++) {
      if (i === j || labels[i] !== labels[j]) continue;
      const negatives = Array.from(labels.keys()).filter((k) => labels[k] !== labels[i]);
      const farther = negatives.filter((k) => at(i, k) > at(i, j));
      const byDistance = (a: number, b: number) => at(i, a) - at(i, b);
      const place = farther.length > 0 ? farther.sort(byDistance)[0]! : negatives.sort(byDistance).at(-1)!;
      pairs.push(i * count + j);
      chosen.push(i * count + (place ?? i)); // no negative: the anchor itself, at distance 0
    }
  const flat = distances.reshape([-1]);
  const pick = (places: readonly number[]): Tensor =>
    flat.indexSelect(0, Tensor.from(Int32Array.from(places)));
  if (pairs.length === 0) return flat.sum().mul(0);
  return pick(pairs).sub(pick(chosen)).add(margin).relu().mean();
};

const LOSSES: readonly [string, (distance: BatchDistance, margin: number) => LossWithGradients, Twin][] = [
  ['batchAllTriplet', (distance, margin) => batchAllTriplet({ distance, margin }), allTriplets],
  [
    'batchHardTriplet',
    (distance, margin) => batchHardTriplet({ distance, margin }),
    (distances, labels, margin) => hardest(distances, labels).add(margin).relu().mean(),
  ],
  [
    'batchHardSoftMarginTriplet',
    (distance) => batchHardSoftMarginTriplet({ distance }),
    (distances, labels) => hardest(distances, labels).exp().add(1).log().mean(),
  ],
  ['batchSemiHardTriplet', (distance, margin) => batchSemiHardTriplet({ distance, margin }), semiHard],
];

for (const [name, make, twin] of LOSSES) {
  test(`${name} is its plain form over all distances at once`, async () => {
    for (const { what, towers } of towersOf(1)) {
      // exp overflows in the plain form.
      if (what === 'lengths far apart' && name === 'batchHardSoftMarginTriplet') continue;
      for (const distance of ['euclidean', 'cosine'] as const) {
        // Rounding decides which of equal cosines is the least.
        if (what.startsWith('identical') && distance === 'cosine') continue;
        for (const classes of [1, 3, 1000])
          for (const margin of [0.1, 5]) {
            const labels = towers[0]!.map((_, row) => (row * 7) % classes);
            const plain = (rows: Tensor): Tensor => twin(distancesOf(rows, distance), labels, margin);
            await assertLikeTwin(
              make(distance, margin),
              plain,
              towers,
              { labels },
              `${what}, ${distance}, ${classes} classes, margin ${margin}`,
            );
          }
      }
    }
  });

  test(`${name}: rows that are there twice have finite gradients`, async () => {
    for (const distance of ['euclidean', 'cosine'] as const)
      for (const dtype of ['float32', 'float64'] as const) {
        const rows = tensorOf([...rowsOf(4, 7, 1), ...rowsOf(4, 7, 1)]).to({ dtype });
        for (const labels of [
          [0, 1, 2, 3, 0, 1, 2, 3],
          [0, 0, 1, 1, 1, 1, 0, 0],
        ]) {
          const { loss, gradients } = await make(distance, 1).compute([rows], 1, { labels });
          assert.ok(Number.isFinite(loss));
          assert.equal(gradients[0]!.dtype, dtype);
          assert.ok(((await gradients[0]!.values()) as Float64Array).every(Number.isFinite));
        }
      }
  });
}

test('several strips of anchors are one batch: 1,500 rows, three of each class', async () => {
  const [count, margin] = [1500, 0.01];
  const rows = rowsOf(count, 3, 1);
  const labels = rows.map((_, row) => row % 500);
  const column = Tensor.from(Float64Array.from(labels));
  const negative: Tensor = call('aten::ne.Tensor', column.reshape([-1, 1]), column);
  const fill = (values: Tensor, where: Tensor, constant: number): Tensor =>
    call('aten::masked_fill.Scalar', values, where, constant);
  const not = (where: Tensor): Tensor => call('aten::logical_not', where);
  /** The distance of each row from another of its class: [rows, 1]. */
  const ofPositive = (distances: Tensor, offset: number): Tensor => {
    const places = Int32Array.from(labels.keys(), (row) => row * count + ((row + offset) % count));
    return distances.reshape([-1]).indexSelect(0, Tensor.from(places)).reshape([-1, 1]);
  };
  const twins: Record<string, (distances: Tensor) => Tensor> = {
    batchAllTriplet: (distances) => {
      const terms = [500, 1000].map((offset) =>
        fill(ofPositive(distances, offset).sub(distances).add(margin).relu(), not(negative), 0),
      );
      const some = terms.map((each) => call<Tensor>('aten::count_nonzero', each.detach()).item());
      return terms[0]!
        .sum()
        .add(terms[1]!.sum())
        .div(some[0]! + some[1]!);
    },
    batchHardTriplet: (distances) => {
      const nearest = call<Tensor>('aten::amin', fill(distances, not(negative), Infinity), [1]);
      const [first, second] = [500, 1000].map((offset) => ofPositive(distances, offset).reshape([-1]));
      return call<Tensor>('aten::maximum', first!, second!).sub(nearest).add(margin).relu().mean();
    },
    batchSemiHardTriplet: (distances) => {
      const farthest = call<Tensor>('aten::amax', fill(distances, not(negative), 0), [1]);
      const terms = [500, 1000].map((offset) => {
        const positive = ofPositive(distances, offset);
        const farther: Tensor = call(
          'aten::logical_and',
          negative,
          call('aten::gt.Tensor', distances, positive),
        );
        const nearest = call<Tensor>('aten::amin', fill(distances, not(farther), Infinity), [1]);
        const none: Tensor = call('aten::isinf', nearest);
        const chosen: Tensor = call('aten::where.self', none, farthest, fill(nearest, none, 0));
        return positive.reshape([-1]).sub(chosen).add(margin).relu();
      });
      return terms[0]!.mean().add(terms[1]!.mean()).div(2);
    },
  };
  for (const [name, make] of LOSSES) {
    const twin = twins[name];
    if (twin === undefined) continue;
    const plain = (tower: Tensor): Tensor => twin(distancesOf(tower, 'euclidean'));
    await assertLikeTwin(make('euclidean', margin), plain, [rows], { labels }, name, 1e-9);
  }
});

test('float32 is near float64, whose choices it makes', async () => {
  const random = new Random(3);
  const towers = Array.from({ length: 300 }, () => Array.from({ length: 24 }, () => random.uniform() - 0.5));
  const labels = towers.map((_, row) => (row * 7) % 40);
  const wide = tensorOf(towers);
  const narrow = wide.to({ dtype: 'float32' });
  for (const [name, make] of LOSSES)
    for (const distance of ['euclidean', 'cosine'] as const) {
      const what = `${name}, ${distance}`;
      const [exact, near] = [wide, narrow].map((tower) =>
        make(distance, 0.3).compute([tower], 1, { labels }),
      ) as [Promise<LossGradients>, Promise<LossGradients>];
      const [expected, found] = [await exact, await near];
      assertNear([found.loss], [expected.loss], 1e-5, what);
      const values = await Promise.all([found, expected].map(({ gradients }) => gradients[0]!.values()));
      assertNear(values[0] as Float32Array, values[1] as Float64Array, 1e-5, what);
    }
});

test('a row that is no number is told, whatever triplets it is in', async () => {
  for (const [name, make] of LOSSES)
    for (const distance of ['euclidean', 'cosine'] as const)
      for (const wrong of [NaN, Infinity])
        for (const labels of [
          [0, 0, 1, 1],
          [0, 1, 0, 2],
        ]) {
          const rows = rowsOf(4, 3, 1);
          rows[3]![1] = wrong;
          await assert.rejects(
            make(distance, 1).compute([tensorOf(rows)], 1, { labels }),
            { code: 'NON_FINITE' },
            `${name}, ${distance}, ${wrong}`,
          );
        }
});

test('a tower that is not trained has the loss alone', async () => {
  const rows = tensorOf(rowsOf(9, 4, 1));
  const labels = [0, 1, 2, 0, 1, 2, 0, 1, 2];
  for (const [, make] of LOSSES) {
    const { loss } = await make('euclidean', 1).compute([rows], 1, { labels });
    const { loss: same, gradients } = await make('euclidean', 1).compute([rows], 1, { labels }, [false]);
    assert.equal(same, loss);
    assert.deepEqual(gradients, [null]);
  }
});

test('labels that are no classes, or too few, are refused', () => {
  const check = (labels: unknown) => () => batchAllTriplet().checkOptions!({ labels }, [3]);
  assert.throws(check([0, 1, 0.5]), {
    code: 'INPUT',
    message: 'labels[2] is 0.5; a whole number is needed.',
  });
  assert.throws(check([0, 1]), {
    code: 'SHAPE',
    message: 'There are 2 labels for 3 rows; one for each is needed.',
  });
  assert.throws(check(undefined), {
    code: 'INPUT',
    message: /^The loss batchAllTriplet needs labels, the class of each row/,
  });
  assert.throws(() => batchAllTriplet({ distance: 'manhattan' as never }), {
    code: 'INPUT',
    message: /"euclidean" or "cosine"/,
  });
});

test("they agree with sentence-transformers' values", { skip: vectorsAbsent }, async () => {
  const classes = {
    BatchAllTripletLoss: batchAllTriplet,
    BatchHardTripletLoss: batchHardTriplet,
    BatchHardSoftMarginTripletLoss: batchHardSoftMarginTriplet,
    BatchSemiHardTripletLoss: batchSemiHardTriplet,
  };
  for (const [lossClass, make] of Object.entries(classes))
    for (const vector of vectorsOf(lossClass)) {
      const { distance_metric, margin } = vector.params as { distance_metric: string; margin?: number };
      const distance = distance_metric === 'cosine_distance' ? 'cosine' : 'euclidean';
      await assertLikeVector(
        make({ distance, ...(margin !== undefined && { margin }) }),
        vector,
        vector.options,
      );
    }
});
