import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TrainConfig } from '../../lib/index.js';
import { digests, record, shortRun } from './support.js';

const LESS_MEMORY = [
  {},
  { masterWeights: 'host' },
  { masterWeights: 'none' },
  { masterWeights: 'none', embeddingGradients: 'rows' },
] as const;

test('in bfloat16 a run lowers the loss as in float32, wherever float32 weights are', async (t) => {
  const { config } = await shortRun(t);
  const run = async (index: number, more: Partial<TrainConfig>) => {
    const output = `${config.output}-${index}`;
    const { events, steps } = await record({ ...config, steps: 20, output, ...more });
    const [start] = events;
    assert.ok(start?.type === 'start' && start.precision === more.precision);
    return steps.map(({ loss }) => loss);
  };
  const high = await run(0, { precision: 'float32' });
  assert.ok(high.at(-1)! < high[0]! - 0.5, high.join(' '));
  for (const [index, less] of LESS_MEMORY.entries()) {
    if ('embeddingGradients' in less) continue; // another rule of updates
    const low = await run(index + 1, { precision: 'bfloat16', ...less });
    for (const [step, loss] of low.entries()) {
      const difference = Math.abs(loss - high[step]!);
      const where = `${JSON.stringify(less)}, step ${step + 1}`;
      assert.ok(difference <= 0.03 * high[0]!, `${where}: ${loss} in bfloat16, ${high[step]} in float32`);
    }
  }
});

test('in bfloat16 a resumed run ends with the same bits as a whole one, wherever float32 weights are', async (t) => {
  const { config } = await shortRun(t);
  for (const [index, less] of LESS_MEMORY.entries()) {
    const output = `${config.output}-${index}`;
    const settings = { ...config, ...less, output, precision: 'bfloat16', checkpoint: { every: 3 } } as const;
    await record(settings);
    const resumed = { ...settings, output: `${output}-resumed` };
    await record({ ...resumed, resume: join(output, 'checkpoint-3') });
    for (const folder of ['model', 'checkpoint-6'])
      assert.deepEqual(await digests(join(resumed.output, folder)), await digests(join(output, folder)));
    const masterWeights = index === 0 ? 'none' : 'device';
    await assert.rejects(
      record({ ...resumed, masterWeights, output: `${output}-other`, resume: join(output, 'checkpoint-3') }),
      /masterWeights was "\w+", now/,
    );
  }
});
