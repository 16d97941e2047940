/**
 * Copy and Repeat Copy (Jaderberg et al. 2017): the longest sequence that an LSTM learns to copy when it is trained on segments
 * of T time steps, by where the gradient across segments comes from. There is no data: sequences are drawn.
 *
 *   npm run bench -- copy-tasks [--write] [--workers 2] [--seconds 120] [--episodes 20000] [--seeds 3] [--lengths 2,3,4,5]
 *     [--tasks copy,repeat-copy] [--methods truncated,exact] [--rows 32] [--width 64] [--lr 0.003]
 *     [--synthesiser-lr 0.003] [--factor 1] [--device cpu]
 *
 * Every run is a process of its own on one core, and `--workers` run at a time. A run ends after so many episodes, which are the
 * same for each method, or when its seconds are over.
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { METHODS, trainOnTask, type Configuration, type MethodName, type Outcome } from './copy/train.js';
import type { TaskName } from './copy/tasks.js';
import { table, writeResults } from './support/results.js';

const program = fileURLToPath(import.meta.url);

const { values } = parseArgs({
  options: {
    run: { type: 'string' },
    write: { type: 'boolean', default: false },
    workers: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '120' },
    episodes: { type: 'string', default: '20000' },
    seeds: { type: 'string', default: '3' },
    lengths: { type: 'string', default: '2,3,4,5' },
    tasks: { type: 'string', default: 'copy,repeat-copy' },
    methods: { type: 'string', default: METHODS.join() },
    rows: { type: 'string', default: '32' },
    width: { type: 'string', default: '64' },
    lr: { type: 'string', default: '0.003' },
    'synthesiser-lr': { type: 'string', default: '0.003' },
    factor: { type: 'string', default: '1' },
    device: { type: 'string', default: 'cpu' },
  },
});

async function inOwnProcess(configuration: Configuration): Promise<Outcome> {
  const child = spawn(process.execPath, [program, '--run', JSON.stringify(configuration)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`${JSON.stringify(configuration)} failed`);
  return JSON.parse(output) as Outcome;
}

function configurations(): Configuration[] {
  const { seconds, episodes, rows, width, lr, factor, device } = values;
  const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed + 1);
  const numbers = {
    seconds: Number(seconds),
    episodes: Number(episodes),
    rows: Number(rows),
    width: Number(width),
    lr: Number(lr),
    synthesiserLr: Number(values['synthesiser-lr']),
    factor: Number(factor),
  };
  return (values.tasks.split(',') as TaskName[]).flatMap((task) =>
    values.lengths
      .split(',')
      .flatMap((length) =>
        (values.methods.split(',') as MethodName[]).flatMap((method) =>
          seeds.map((seed) => ({ task, method, length: Number(length), seed, device, ...numbers })),
        ),
      ),
  );
}

async function main(): Promise<void> {
  if (values.run !== undefined) {
    console.log(JSON.stringify(await trainOnTask(JSON.parse(values.run) as Configuration)));
    return;
  }
  const all = configurations();
  const outcomes = new Map<Configuration, Outcome>();
  const left = [...all];
  const worker = async () => {
    for (let next; (next = left.shift()) !== undefined;) {
      const outcome = await inOwnProcess(next);
      outcomes.set(next, outcome);
      const { task, method, length, seed } = next;
      const { longest, after, episodes, updates, seconds } = outcome;
      process.stderr.write(
        `${task}, T = ${length}, ${method}, seed ${seed}: ${longest} steps after ${after} of ${episodes} episodes (${updates} updates, ${seconds} s)\n`,
      );
    }
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, worker));
  const body = report(all, outcomes);
  console.log(body);
  if (values.write)
    writeResults(
      'Copy and Repeat Copy',
      `npm run bench -- copy-tasks ${process.argv.slice(2).join(' ')}`,
      body,
    );
}

/** For each task a table: methods down, lengths of a segment across, the seeds' results in a cell. */
function report(all: readonly Configuration[], outcomes: ReadonlyMap<Configuration, Outcome>): string {
  const { width, rows, lr, synthesiserLr, factor, episodes } = all[0]!;
  const lengths = [...new Set(all.map(({ length }) => length))];
  const head =
    `LSTM of ${width} units, ${rows} sequences a batch, 4 symbols, Adam at ${lr}, the synthesiser's at ${synthesiserLr}, ` +
    `predicted gradients times ${factor}, at most ${episodes} episodes or ${values.seconds} seconds a run. A cell has the time steps of the longest sequence that was solved (below 0.15 bits a ` +
    'symbol), for each seed.';
  const tables = [...new Set(all.map(({ task }) => task))].map((task) => {
    const lines = [...new Set(all.map(({ method }) => method))].map((method) => [
      method,
      ...lengths.map((length) =>
        all
          .filter((one) => one.task === task && one.method === method && one.length === length)
          .map((one) => {
            const { longest, episodes: done } = outcomes.get(one)!;
            return done < one.episodes ? `${longest}*` : String(longest);
          })
          .join(' / '),
      ),
    ]);
    return [`### ${task}`, '', table(['gradients', ...lengths.map((length) => `T = ${length}`)], lines)].join(
      '\n',
    );
  });
  return [head, '', tables.join('\n\n'), '', '\\* the seconds were over before the episodes.'].join('\n');
}

await main();
