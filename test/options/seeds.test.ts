import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawSeed } from '../../lib/options/seeds.js';

test('seeds are what they always were: a run that is resumed by a later version draws the same masks', () => {
  assert.deepEqual(
    (['step', 'chunk', 'update'] as const).map((purpose) => drawSeed(purpose, 7, 3)),
    [2606756468138386, 5295008337834227, 1362196216885981],
  );
});
