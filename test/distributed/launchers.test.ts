/** Runs of the command line that others start: torchrun, which starts ranks anew, and Slurm. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../../lib/distributed/launch.js';
import type { StartEvent, TrainEvent } from '../../lib/training/events.js';
import { pythonEnvironment } from '../oracle/python.js';
import { shortRun } from '../training/support.js';

const PROGRAM = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** Kills rank 0 when it tells its first checkpoint, the first time that it is started. */
const ENDS_ONCE = `
const { RANK, TORCHELASTIC_RESTART_COUNT: restart } = process.env;
const write = process.stdout.write;
process.stdout.write = function (text, ...others) {
  const told = write.call(this, text, ...others);
  if (RANK === '0' && restart === '0' && String(text).includes('"type":"saved","step":2'))
    process.kill(process.pid, 'SIGKILL');
  return told;
};
`;

/** As srun: runs what follows it as two tasks, each of which finds its place in Slurm's variables. */
const SRUN = `
export SLURM_JOB_ID=1234567 SLURM_STEP_ID=0 SLURM_NTASKS=2 SLURM_STEP_NODELIST='127.0.0.1,127.0.0.2'
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=0 "$@" & second=$!
wait $first && wait $second
`;

test('torchrun starts ranks anew after one was killed, and they go on from the last checkpoint; then a job of Slurm does', async (t) => {
  const { folder, config } = await shortRun(t);
  const file = join(folder, 'run.json');
  await writeFile(file, JSON.stringify({ ...config, resume: true, checkpoint: { every: 2 } }));
  const [ends, srun] = [join(folder, 'ends-once.mjs'), join(folder, 'srun')];
  await writeFile(ends, ENDS_ONCE);
  await writeFile(srun, SRUN);
  const run = async (command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> => {
    const { stdout } = await promisify(execFile)(command, args, {
      env: { ...env, OMP_NUM_THREADS: '1' },
      timeout: 300_000,
    });
    return stdout;
  };
  const train = [PROGRAM, 'train', '--config', file, '--json'];
  const told = await run(
    process.env.GRADCACHE_PYTHON || 'python3',
    [
      ...['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '--max-restarts', '1'],
      ...['--no-python', process.execPath, '--import', ends, ...train],
    ],
    pythonEnvironment(),
  );
  assert.equal(told.match(/"type":"result"/g)?.length, 1, told);
  const slurm = await run('sh', [srun, process.execPath, ...train, '--steps', '8', '--slurm', '--resume'], {
    ...process.env,
    MASTER_PORT: String(await freePort()),
  });
  assert.equal(slurm.match(/"type":"result"/g)?.length, 1, slurm);

  const lines = (await readFile(join(config.output, 'metrics.jsonl'), 'utf8')).trim().split('\n');
  const starts = lines
    .map((line) => JSON.parse(line) as TrainEvent)
    .filter((event): event is StartEvent => event.type === 'start');
  // The next checkpoint may have been complete too when rank 0 was killed.
  assert.ok([2, 4].includes(starts[1]!.done), `${starts[1]!.done} steps were done`);
  assert.deepEqual(
    starts.map(({ ranks, done }) => ({ ranks, done })),
    [
      { ranks: 2, done: 0 },
      { ranks: 2, done: starts[1]!.done },
      { ranks: 2, done: 6 },
    ],
  );
});
