import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { devices } from '../../lib/index.js';
import { gradcache } from '../cli/program.js';
import { shortRun } from '../training/support.js';

/** The command line of a long run over two ranks with many checkpoints. */
async function longRun(t: TestContext): Promise<{ output: string; args: string[] }> {
  const { folder, config } = await shortRun(t);
  const file = join(folder, 'run.json');
  await writeFile(file, JSON.stringify({ ...config, steps: 100_000, checkpoint: { every: 2, keep: 1 } }));
  return { output: config.output, args: ['train', '--config', file, '--ranks', '2', '--json'] };
}

/** The processes that a process started. */
function childrenOf({ pid }: ChildProcess): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
}

test('Ctrl-C ends all ranks after the current chunk, once', async (t) => {
  const { output, args } = await longRun(t);
  let sent = false;
  const { code, stderr } = await gradcache(args, {
    onOutput: (child, written) => {
      if (sent || !written.includes('"type":"step","step":5')) return;
      sent = true;
      child.kill('SIGINT');
    },
  });
  assert.equal(code, 130, stderr);
  assert.equal(stderr.match(/Ending after the current chunk/g)?.length, 1, stderr);
  assert.match(
    stderr,
    /ABORTED: Interrupted\. The checkpoint of step \d+ is complete; --resume \S+ goes on from it\.\n/,
  );
  const names = await readdir(output);
  assert.deepEqual(
    names.filter((name) => !/^(checkpoint-\d+|metrics\.jsonl|settings\.json)$/.test(name)),
    [],
  );
});

test('where a rank is killed, the other says so and ends, and the last checkpoint stays', async (t) => {
  const { output, args } = await longRun(t);
  let killed = false;
  const { code, stderr } = await gradcache(args, {
    onOutput: (child, written) => {
      if (killed || !written.includes('"type":"step","step":5')) return;
      killed = true;
      process.kill(Math.max(...childrenOf(child)), 'SIGKILL');
    },
  });
  assert.equal(code, 137, stderr);
  assert.match(stderr, /^\[rank 1\] was ended by SIGKILL$/m);
  assert.match(
    stderr,
    /^DISTRIBUTED: .* over 2 ranks failed: rank 0 heard no reason from the others, and sees: /m,
  );
  assert.ok((await readdir(output)).some((name) => name.startsWith('checkpoint-')));
});

test('a mistake is told once, and ranks are not started within ranks', async (t) => {
  const { args } = await longRun(t);
  const { code, stderr } = await gradcache([...args, '--batch', '1']);
  assert.equal(code, 2);
  assert.match(stderr, /^INPUT: --batch is 1; a whole number from 2 is needed\.\n/);
  assert.equal(stderr.match(/INPUT/g)?.length, 1, stderr);
  if (!devices().some((device) => device.startsWith('cuda'))) {
    for (const gpus of ['all', '1']) {
      const none = await gradcache([...args.slice(0, 3), '--gpus', gpus, '--device', 'auto']);
      assert.equal(none.code, 1);
      assert.ok(none.stderr.startsWith(`CUDA_UNAVAILABLE: --gpus ${gpus}: libtorch can use no GPU here.`));
    }
  }
  const onCpu = await gradcache([...args.slice(0, 3), '--gpus', '1', '--device', 'cpu']);
  assert.equal(onCpu.code, 2);
  assert.match(onCpu.stderr, /^INPUT: --gpus 1 and --device cpu contradict each other/);
  process.env.WORLD_SIZE = '4';
  t.after(() => delete process.env.WORLD_SIZE);
  const inside = await gradcache([...args, '--gpus', '2']);
  assert.equal(inside.code, 2);
  assert.match(inside.stderr, /^INPUT: --ranks starts processes, and this one is one of 4/);
});
