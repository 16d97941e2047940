import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import { anglE, call, coSENT } from '../../lib/index.js';
import { assertLikeTwin, assertNear, rowsOf, tensorOf, towersOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

/** Scores with ties: some pairs are not compared. */
const labelsFor = (rows: number): number[] => Array.from({ length: rows }, (_, row) => (row * 7) % 5);

const cosines = (a: Tensor, b: Tensor): Tensor => a.normalize().mul(b.normalize()).sum(1);

/** log(1 + sum of exp(scale * (sim_i - sim_j))) over all i, j with label_i < label_j, pair by pair. */
function pairByPair(similarities: Tensor, labels: readonly number[], scale: number): Tensor {
  const terms: Tensor[] = [similarities.sum().mul(0).reshape([1])];
  for (const [i, low] of labels.entries())
    for (const [j, high] of labels.entries())
      if (low < high)
        terms.push(
          similarities
            .narrow(0, i, 1)
            .sub(similarities.narrow(0, j, 1))
            .mul(scale),
        );
  return call<Tensor>('aten::cat', terms, 0).logsumexp(0);
}

test('CoSENT is its sum over pairs of pairs, at any scale, with ties and without', async () => {
  for (const { what, towers } of towersOf(2))
    for (const scale of [0.01, 20, 1000]) {
      const labels = labelsFor(towers[0]!.length);
      const twin = (a: Tensor, b: Tensor): Tensor => pairByPair(cosines(a, b), labels, scale);
      await assertLikeTwin(coSENT({ scale }), twin, towers, { labels }, `${what}, scale ${scale}`);
    }
});

test('CoSENT by distance', async () => {
  const labels = labelsFor(9);
  const towers = [rowsOf(9, 4, 1), rowsOf(9, 4, 2)];
  const distances = (a: Tensor, b: Tensor): Tensor => a.sub(b).mul(a.sub(b)).sum(1).sqrt().neg();
  const twin = (a: Tensor, b: Tensor): Tensor => pairByPair(distances(a, b), labels, 2);
  await assertLikeTwin(coSENT({ scale: 2, similarity: 'euclidean' }), twin, towers, { labels }, 'euclidean');
});

test('CoSENT of equal scores compares nothing', async () => {
  const { loss, gradients } = await coSENT().compute([rowsOf(4, 3, 1), rowsOf(4, 3, 2)].map(tensorOf), 1, {
    labels: [2, 2, 2, 2],
  });
  assert.equal(loss, 0);
  assertNear((await gradients[0]!.values()) as Float64Array, new Float64Array(12), 0, 'its gradient');
});

test('CoSENT of 100,000 pairs takes a moment, and no memory for pairs of pairs', async () => {
  const count = 100_000;
  const towers = [1, 2].map((seed) => tensorOf(rowsOf(count, 2, seed)));
  const labels = Array.from({ length: count }, (_, row) => (row * 7919) % count);
  const { loss } = await coSENT().compute(towers, 1, { labels });
  assert.ok(loss > 20);
});

/** |real part + imaginary part| of the product of one vector of complex numbers with the conjugate of the other. */
function complexAngle(a: Tensor, b: Tensor): Tensor {
  const pad = (rows: Tensor): Tensor =>
    rows.shape[1]! % 2 === 0
      ? rows
      : call('aten::cat', [rows, call('aten::new_zeros', rows, [rows.shape[0]!, 1])], 1);
  const [x, y] = [a, b].map((rows) => {
    const padded = pad(rows).normalize();
    const half = padded.shape[1]! / 2;
    return { re: padded.narrow(1, 0, half), im: padded.narrow(1, half, half) };
  }) as [{ re: Tensor; im: Tensor }, { re: Tensor; im: Tensor }];
  const real = x.re.mul(y.re).add(x.im.mul(y.im)).sum(1);
  const imaginary = x.im.mul(y.re).sub(x.re.mul(y.im)).sum(1);
  return call('aten::abs', real.add(imaginary));
}

test('AnglE compares angles: pairs with scores, or an anchor with all others', async () => {
  const few = (count: number) => towersOf(count).filter(({ towers }) => towers[0]!.length < 20);
  for (const { what, towers } of few(2)) {
    const labels = labelsFor(towers[0]!.length);
    const twin = (a: Tensor, b: Tensor): Tensor => pairByPair(complexAngle(a, b), labels, 5);
    await assertLikeTwin(anglE({ scale: 5 }), twin, towers, { labels }, what);
  }
  for (const { what, towers } of few(4)) {
    const rows = towers[0]!.length;
    for (const labels of [undefined, Array.from({ length: rows }, (_, row) => row % 2)]) {
      const first = labels ?? Array<number>(rows).fill(1);
      const all = [...first, ...first.map((label) => 1 - label), ...first.map((label) => 1 - label)];
      const twin = (a: Tensor, ...others: Tensor[]): Tensor => {
        const angles = others.slice(0, 3).map((other) => complexAngle(a, other));
        return pairByPair(call('aten::cat', angles, 0), all, 20);
      };
      await assertLikeTwin(
        anglE(),
        twin,
        towers,
        labels === undefined ? {} : { labels },
        `${what}, triplets`,
      );
    }
  }
});

test("CoSENT and AnglE agree with sentence-transformers' values", { skip: vectorsAbsent }, async () => {
  for (const vector of vectorsOf('CoSENTLoss'))
    await assertLikeVector(coSENT(vector.params), vector, vector.options);
  for (const vector of vectorsOf('AnglELoss'))
    await assertLikeVector(anglE(vector.params), vector, vector.options);
});
