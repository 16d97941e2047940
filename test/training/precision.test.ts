import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { digests, record, shortRun } from './support.js';

test('in bfloat16 a run lowers the loss as in float32', async (t) => {
  const { config } = await shortRun(t);
  const run = async (precision: 'float32' | 'bfloat16') => {
    const output = `${config.output}-${precision}`;
    const { events, steps } = await record({ ...config, steps: 20, precision, output });
    const [start] = events;
    assert.ok(start?.type === 'start' && start.precision === precision);
    return steps.map(({ loss }) => loss);
  };
  const [high, low] = [await run('float32'), await run('bfloat16')];
  assert.ok(high.at(-1)! < high[0]! - 0.5, high.join(' '));
  for (const [step, loss] of low.entries()) {
    const difference = Math.abs(loss - high[step]!);
    assert.ok(
      difference <= 0.03 * high[0]!,
      `step ${step + 1}: ${loss} in bfloat16, ${high[step]} in float32`,
    );
  }
});

test('in bfloat16 a resumed run ends with the same bits as a whole one', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, precision: 'bfloat16', checkpoint: { every: 3 } } as const;
  await record(settings);
  const resumed = { ...settings, output: `${config.output}-resumed` };
  await record({ ...resumed, resume: join(config.output, 'checkpoint-3') });
  assert.deepEqual(await digests(join(resumed.output, 'model')), await digests(join(config.output, 'model')));
});
