import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, cosineSimilarity, Tensor } from '../../lib/index.js';
import { assertLikeTwin, tensorOf, towersOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

const labelsFor = (rows: number): number[] => Array.from({ length: rows }, (_, row) => Math.cos(3 * row));

test('it is the mean squared error of cosines, with labels in float32', async () => {
  for (const { what, towers } of towersOf(2)) {
    const labels = labelsFor(towers[0]!.length);
    const twin = (a: Tensor, b: Tensor): Tensor => {
      const lengths = a.mul(a).sum(1).mul(b.mul(b).sum(1)).sqrt();
      const wanted = Tensor.from(Float64Array.from(Float32Array.from(labels)));
      const errors = a.mul(b).sum(1).div(lengths).sub(wanted);
      return errors.mul(errors).sum().div(labels.length);
    };
    await assertLikeTwin(cosineSimilarity(), twin, towers, { labels }, what);
  }
});

test('cosines can be transformed, and the error be another', async () => {
  const loss = cosineSimilarity({
    transform: (cosines) => cosines.add(1).div(2),
    error: (predicted, labels) => call<Tensor>('aten::abs', predicted.sub(labels)).mean(),
  });
  const result = await loss.compute([tensorOf([[1, 0]]), tensorOf([[0, 2]])], 1, { labels: [0.25] });
  assert.equal(result.loss, 0.25);
});

test("it agrees with sentence-transformers' values", { skip: vectorsAbsent }, async () => {
  for (const vector of vectorsOf('CosineSimilarityLoss'))
    await assertLikeVector(cosineSimilarity(), vector, vector.options);
});
