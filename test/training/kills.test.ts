import assert from 'node:assert/strict';
import { test } from 'node:test';
import { killAndResume, type Moment, uninterrupted } from './kills.js';
import { shortRun } from './support.js';

test('a run that is killed while it writes, or at any moment, goes on to the same bytes', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, steps: 12, checkpoint: { every: 2, keep: 2 } };
  const { seconds, files, losses } = await uninterrupted({ ...settings, output: `${config.output}-whole` });
  const killed = async (moment: Moment): Promise<string> => {
    const { outcome, left } = await killAndResume(settings, moment);
    assert.deepEqual(outcome, { files, losses }, `${JSON.stringify(moment)}, which left ${left}`);
    return left;
  };
  await killed({ seconds: 0.8 * seconds });
  await killed({ save: 3, milliseconds: 4 });
  // A kill can come too late for the save that it was meant for.
  for (let tries = 1; (await killed({ save: 1, milliseconds: 1 })) !== 'half a save'; tries++)
    assert.ok(tries < 10, 'no save was met in its midst');
});
