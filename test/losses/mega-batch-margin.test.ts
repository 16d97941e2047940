import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, megaBatchMargin, Tensor, type Loss, type LossOptions } from '../../lib/index.js';
import { assertLikeTwin, rowsOf, towersOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

/** The loss in plain operators on all scores. */
function plain(positiveMargin: number, negativeMargin: number): Loss {
  return (anchors: Tensor, positives: Tensor): Tensor => {
    const scores = anchors.normalize().matmul(positives.normalize().t());
    const count = scores.shape[0]!;
    const own: Tensor = call('aten::diagonal', scores);
    const self: Tensor = call('aten::eye', count, { dtype: 'float64' });
    const others = scores.sub(self.mul(1e30));
    const [nearest] = call<[Tensor]>('aten::max.dim', others, 1);
    return own.neg().add(positiveMargin).relu().add(nearest.sub(negativeMargin).relu()).mean();
  };
}

test('value and gradients are those of plain operators on all scores', async () => {
  const batches = [...towersOf(2), { what: 'several tiles', towers: [rowsOf(700, 5, 1), rowsOf(700, 5, 2)] }];
  for (const [positiveMargin, negativeMargin] of [
    [0.8, 0.3],
    [0.2, -0.9],
    [1.5, 0.999],
  ] as const)
    for (const { what, towers } of batches) {
      const loss = megaBatchMargin({ positiveMargin, negativeMargin });
      await assertLikeTwin(loss, plain(positiveMargin, negativeMargin), towers, {}, what);
    }
});

test('values and gradients are those of other libraries', { skip: vectorsAbsent }, async () => {
  const vectors = vectorsOf('MegaBatchMarginLoss');
  assert.ok(vectors.length > 0);
  for (const vector of vectors) {
    const { positive_margin: positiveMargin, negative_margin: negativeMargin } = vector.params as never;
    await assertLikeVector(megaBatchMargin({ positiveMargin, negativeMargin }), vector);
  }
});

test('what does not fit is refused', async () => {
  for (const options of [{ positiveMargin: NaN }, { negativeMargin: '0.3' }, { margin: 1 }])
    assert.throws(() => megaBatchMargin(options as never), { code: 'INPUT' });
  const rows = (count: number) =>
    Tensor.from(Float64Array.from(rowsOf(count, 3, 1).flat()), { shape: [count, 3] });
  const refusals: [Tensor[], LossOptions, object][] = [
    [[rows(3)], {}, { code: 'SHAPE', message: /given 1 towers; two .* anchor, positive are needed/ }],
    [[rows(3), rows(3), rows(3)], {}, { code: 'SHAPE', message: /given 3 towers/ }],
    [[rows(3), rows(2)], {}, { code: 'SHAPE', message: /towers of 3, 2 rows/ }],
    [[rows(3), rows(3)], { labels: [1, 2, 3] }, { code: 'INPUT' }],
  ];
  for (const [towers, options, error] of refusals)
    await assert.rejects(megaBatchMargin().compute(towers, 1, options), error);
});
