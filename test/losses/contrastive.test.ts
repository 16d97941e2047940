import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, contrastive, onlineContrastive, Tensor, triplet, type Distance } from '../../lib/index.js';
import { assertLikeTwin, rowsOf, tensorOf, towersOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

const DISTANCES: readonly Distance[] = ['cosine', 'euclidean', 'manhattan'];

/** D(a, b) of each row: [N]. @param added to every number of the difference */
function apart(distance: Distance, a: Tensor, b: Tensor, added: number): Tensor {
  if (distance === 'cosine') return a.normalize().mul(b.normalize()).sum(1).neg().add(1);
  const difference = a.sub(b).add(added);
  if (distance === 'manhattan') return call<Tensor>('aten::abs', difference).sum(1);
  const squares = difference.mul(difference).sum(1);
  // The root of 0 has no gradient; the losses have 0 there.
  return squares
    .mul(call('aten::gt.Scalar', squares, 0))
    .add(call('aten::eq.Scalar', squares, 0))
    .sqrt()
    .mul(call('aten::gt.Scalar', squares, 0));
}

const column = (values: readonly number[]): Tensor => Tensor.from(Float64Array.from(values));

test('the contrastive loss draws pairs that match together, and others apart', async () => {
  for (const { what, towers } of towersOf(2))
    for (const distance of DISTANCES)
      for (const average of [true, false]) {
        const labels = towers[0]!.map((_, row) => [1, 0, 0.25][row % 3]!);
        const twin = (a: Tensor, b: Tensor): Tensor => {
          const distances = apart(distance, a, b, 1e-6);
          const short = distances.neg().add(0.8).relu();
          const terms = distances
            .mul(distances)
            .mul(column(labels))
            .add(short.mul(short).mul(column(labels.map((label) => 1 - label))));
          return average ? terms.mean().div(2) : terms.sum().div(2);
        };
        const loss = contrastive({ distance, margin: 0.8, average });
        await assertLikeTwin(loss, twin, towers, { labels }, `${what}, ${distance}, average ${average}`);
      }
});

test('the online contrastive loss takes hard pairs alone', async () => {
  for (const { what, towers } of towersOf(2))
    for (const distance of DISTANCES)
      for (const kinds of [[1, 0, 0], [1], [0]]) {
        const labels = towers[0]!.map((_, row) => kinds[row % kinds.length]!);
        const twin = (a: Tensor, b: Tensor): Tensor => {
          const distances = apart(distance, a, b, 1e-6);
          const values = Array.from(distances.valuesSync() as Float64Array);
          const of = (kind: number) => values.filter((_, row) => labels[row] === kind);
          const mean = (list: number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
          const [match, differ] = [of(1), of(0)];
          const least = differ.length > 0 ? Math.min(...differ) : mean(match);
          const greatest = match.length > 0 ? Math.max(...match) : mean(differ);
          const [hardMatch, hardDiffer] = [
            values.map((value, row) => Number(labels[row] === 1 && value > least)),
            values.map((value, row) => Number(labels[row] === 0 && value < greatest)),
          ];
          const short = distances.neg().add(0.5).relu();
          return distances
            .mul(distances)
            .mul(column(hardMatch))
            .add(short.mul(short).mul(column(hardDiffer)))
            .sum();
        };
        // A pair that is just as far as the bound is hard or not by its last bit.
        if (what.startsWith('identical') && kinds.length === 1) continue;
        await assertLikeTwin(
          onlineContrastive({ distance }),
          twin,
          towers,
          { labels },
          `${what}, ${distance}, ${kinds.join()}`,
        );
      }
});

test('labels of the online contrastive loss are 0 or 1', () => {
  const check = (labels: unknown) => () => onlineContrastive().checkOptions!({ labels }, [3, 3]);
  assert.throws(check([0, 1, 0.5]), { code: 'INPUT', message: 'labels[2] is 0.5; 0 or 1 is needed.' });
});

test('the triplet loss wants the positive nearer than the negative', async () => {
  for (const { what, towers } of towersOf(3))
    for (const distance of DISTANCES)
      for (const margin of [0.3, 5]) {
        const twin = (a: Tensor, p: Tensor, n: Tensor): Tensor =>
          apart(distance, a, p, 0)
            .sub(apart(distance, a, n, 0))
            .add(margin)
            .relu()
            .mean();
        await assertLikeTwin(
          triplet({ distance, margin }),
          twin,
          towers,
          {},
          `${what}, ${distance}, ${margin}`,
        );
      }
});

test('a row that equals its positive has a gradient of the negative alone', async () => {
  const anchor = tensorOf(rowsOf(3, 4, 1));
  const { gradients } = await triplet().compute([anchor, anchor, tensorOf(rowsOf(3, 4, 2))], 1, {});
  for (const gradient of gradients) {
    const values = (await gradient!.values()) as Float64Array;
    assert.ok(values.every(Number.isFinite));
  }
});

const NAMES: Readonly<Record<string, Distance>> = {
  COSINE: 'cosine',
  COSINE_DISTANCE: 'cosine',
  EUCLIDEAN: 'euclidean',
  MANHATTAN: 'manhattan',
};

test("the contrastive losses agree with sentence-transformers' values", { skip: vectorsAbsent }, async () => {
  for (const vector of [
    ...vectorsOf('ContrastiveLoss'),
    ...vectorsOf('OnlineContrastiveLoss'),
    ...vectorsOf('TripletLoss'),
  ]) {
    const { distance_metric, margin, size_average, triplet_margin } = vector.params as {
      distance_metric: string;
      margin: number;
      size_average: boolean;
      triplet_margin: number;
    };
    const distance = NAMES[distance_metric]!;
    const loss =
      vector.loss_class === 'ContrastiveLoss'
        ? contrastive({ distance, margin, average: size_average })
        : vector.loss_class === 'TripletLoss'
          ? triplet({ distance, margin: triplet_margin })
          : onlineContrastive({ distance, margin });
    await assertLikeVector(loss, vector, vector.options);
  }
});
