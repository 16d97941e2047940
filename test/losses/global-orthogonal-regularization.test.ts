import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import { call, globalOrthogonalRegularization } from '../../lib/index.js';
import { assertLikeTwin, towersOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

test('it is the mean of similarities of different rows, and of their squares', async () => {
  for (const { what, towers } of towersOf(2))
    for (const similarity of ['cosine', 'dot'] as const)
      for (const aggregation of ['mean', 'sum'] as const) {
        const twin = (...given: Tensor[]): Tensor => {
          const terms = given.slice(0, 2).map((tower) => {
            const rows = similarity === 'cosine' ? tower.normalize() : tower;
            const [count, dimension] = rows.shape as [number, number];
            const others: Tensor = call<Tensor>('aten::eye', count, { dtype: 'float64' }).neg().add(1);
            const products = rows.matmul(rows.t()).mul(others);
            const pairs = Math.max(1, count * (count - 1));
            const mean = products.sum().div(pairs);
            const spread = products
              .mul(products)
              .sum()
              .div(pairs)
              .sub(1 / dimension)
              .relu();
            return mean.mul(mean).mul(0.5).add(spread.mul(2));
          });
          const sum = terms[0]!.add(terms[1]!);
          return aggregation === 'sum' ? sum : sum.div(2);
        };
        const loss = globalOrthogonalRegularization({
          similarity,
          aggregation,
          meanWeight: 0.5,
          secondMomentWeight: 2,
        });
        await assertLikeTwin(loss, twin, towers, {}, `${what}, ${similarity}, ${aggregation}`, 1e-9);
      }
});

test('without any weight there is no loss', () => {
  assert.throws(() => globalOrthogonalRegularization({ meanWeight: 0, secondMomentWeight: 0 }), {
    code: 'INPUT',
    message: /meanWeight or secondMomentWeight must be above 0/,
  });
});

test("it agrees with sentence-transformers' values", { skip: vectorsAbsent }, async () => {
  for (const vector of vectorsOf('GlobalOrthogonalRegularizationLoss')) {
    const { mean_weight, second_moment_weight, aggregation } = vector.params as Record<string, never>;
    const loss = globalOrthogonalRegularization({
      meanWeight: mean_weight ?? 0,
      secondMomentWeight: second_moment_weight ?? 0,
      aggregation,
    });
    await assertLikeVector(loss, vector);
  }
});
