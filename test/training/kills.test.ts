import assert from 'node:assert/strict';
import { test } from 'node:test';
import { killAndResume, uninterrupted } from './kills.js';
import { shortRun } from './support.js';

test('a run that is killed while it writes, or at any moment, goes on to the same bytes', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, steps: 12, checkpoint: { every: 2, keep: 2 } };
  const { seconds, files, losses } = await uninterrupted({ ...settings, output: `${config.output}-whole` });
  const found = new Set<string>();
  for (const moment of [
    { save: 1, milliseconds: 1 },
    { save: 3, milliseconds: 4 },
    { seconds: 0.8 * seconds },
  ]) {
    const { outcome, left } = await killAndResume(settings, moment);
    found.add(left);
    assert.deepEqual(outcome, { files, losses }, `${JSON.stringify(moment)}, which left ${left}`);
  }
  assert.ok(found.has('half a save'), [...found].join(', '));
});
