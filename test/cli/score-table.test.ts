import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scoreTable } from '../../lib/cli/score-table.js';

test('a table of the scores before, after and at best, as far as they were measured', () => {
  const [before, scores] = [
    { 'mrr@10': 0.25, loss: 1.5 },
    { 'mrr@10': 0.5, loss: 12 },
  ];
  const best = { step: 30, score: 'mrr@10', scores: { 'mrr@10': 0.75, loss: 1 } };
  assert.deepEqual(scoreTable({ before, scores, best }), [
    '        before    after  best (step 30)',
    'mrr@10  0.2500   0.5000          0.7500',
    'loss    1.5000  12.0000          1.0000',
  ]);
  assert.deepEqual(scoreTable({ before: null, scores, best })[0], '          after  best (step 30)');
  // What a resumed run measures beside, or no more, has a row too.
  const later = { 'sts.spearman': 0.7 };
  assert.deepEqual(scoreTable({ before: later, scores: { mrr: 0.5 }, best: null }), [
    '              before   after',
    'sts.spearman  0.7000        ',
    'mrr                   0.5000',
  ]);
  assert.deepEqual(scoreTable({ before: null, scores, best: null }), []);
  assert.deepEqual(scoreTable({ before: null, scores: null, best: null }), []);
});
