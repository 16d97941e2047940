import assert from 'node:assert/strict';
import { test } from 'node:test';
import { infoNCE } from '../../lib/index.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

test('values and gradients are those of other libraries', { skip: vectorsAbsent }, async () => {
  let compared = 0;
  for (const vector of vectorsOf('MultipleNegativesRankingLoss')) {
    const { scale, similarity_fct, directions, partition_mode, hardness_mode } = vector.params;
    const symmetric = (directions as string[]).includes('doc_to_query');
    const known = (directions as string[]).length === (symmetric ? 2 : 1) && hardness_mode === null;
    if (!known || (symmetric && partition_mode === 'joint')) continue;
    const similarity = similarity_fct === 'dot_score' ? 'dot' : 'cosine';
    await assertLikeVector(infoNCE({ temperature: 1 / (scale as number), similarity, symmetric }), vector);
    compared++;
  }
  for (const vector of vectorsOf('ClipLoss')) {
    const temperature = 1 / (vector.params['logit_scale'] as number);
    await assertLikeVector(infoNCE({ temperature, symmetric: true }), vector);
    compared++;
  }
  for (const vector of vectorsOf('SimpleContrastiveLoss')) {
    const { n_hard_negatives: negatives, reduction } = vector.params;
    if (reduction !== 'mean') continue;
    const targets = vector.reps[0]!.map((_, row) => row * (1 + (negatives as number)));
    await assertLikeVector(infoNCE({ temperature: 1, similarity: 'dot' }), vector, { targets });
    compared++;
  }
  assert.ok(compared > 10, `${compared} were compared`);
});
