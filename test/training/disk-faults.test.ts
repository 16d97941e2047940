import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { TrainConfig } from '../../lib/training/config.js';
import { train } from '../../lib/training/train.js';
import { replacePromised, systemError } from '../files/system-faults.js';
import { digests, shortRun } from './support.js';

const PROGRAM = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** From the checkpoint of a step on, files of a name cannot be opened. */
function refuseFrom(t: TestContext, name: string, code: string): void {
  replacePromised(t, 'open', (real) => (...args: Parameters<typeof real>) => {
    const path = String(args[0]);
    return path.includes('checkpoint-4') && path.includes(name)
      ? Promise.reject(systemError(code, 'write'))
      : real(...args);
  });
}

for (const [name, code, message] of [
  ['model.safetensors', 'ENOSPC', /cannot be written: ENOSPC.* The disk is full: free some of it/],
  ['optimizer.safetensors', 'EDQUOT', /cannot be written: EDQUOT.* The quota of this user is used up/],
  ['trainer.json', 'EACCES', /cannot be written: EACCES.* This user lacks the right/],
] as const)
  test(`where ${code} refuses ${name}, the run ends with its reason, and goes on later from the checkpoint before`, async (t) => {
    const { config } = await shortRun(t);
    const settings: TrainConfig = { ...config, steps: 8, checkpoint: { every: 2 } };
    const { output } = settings;
    await train({ ...settings, output: `${output}-whole` });
    await t.test('the run', async (refusing) => {
      refuseFrom(refusing, name, code);
      await assert.rejects(train(settings), { code: 'INPUT', message });
    });
    assert.deepEqual((await readdir(output)).sort(), ['checkpoint-2', 'metrics.jsonl', 'settings.json']);
    await train({ output, resume: true });
    assert.deepEqual(await digests(join(output, 'model')), await digests(join(`${output}-whole`, 'model')));
  });

test('a run whose folder is removed ends with a reason', async (t) => {
  const { config } = await shortRun(t);
  const run = train(
    { ...config, steps: 8, checkpoint: { every: 4 } },
    {
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 2) rmSync(config.output, { recursive: true });
      },
    },
  );
  await assert.rejects(run, { code: 'INPUT', message: /\/run\S* (cannot be|is in use)/ });
});

test('a limit of the system on the size of files ends a run with its reason, and leaves the checkpoint before', async (t) => {
  const { folder, config } = await shortRun(t);
  const { output } = config;
  const settings = { ...config, steps: 2, checkpoint: { every: 2 } };
  await train(settings);
  rmSync(join(output, 'model'), { recursive: true });
  const kept = await digests(join(output, 'checkpoint-2'));
  const file = join(folder, 'run.json');
  await writeFile(file, JSON.stringify({ ...settings, steps: 4, resume: true }));
  // Blocks of 1 KiB: the weights fit, the state of the optimizer does not.
  const { status, stderr } = spawnSync(
    'bash',
    ['-c', 'ulimit -f 800; exec "$@"', 'limited', process.execPath, PROGRAM, 'train', '--config', file],
    { encoding: 'utf8' },
  );
  assert.equal(status, 1, stderr);
  assert.match(stderr, /INPUT: .*optimizer\.safetensors cannot be written: EFBIG.*ulimit -f/);
  assert.deepEqual(await digests(join(output, 'checkpoint-2')), kept);
});
