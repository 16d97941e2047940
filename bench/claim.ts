/**
 * The claim of Gradient Cache (Gao et al. 2021) on real text: a batch by cached gradients is as good as the same batch at once,
 * better than as many pairs by accumulation, and better than small batches, at equal updates and at equal pairs.
 *
 *   npm run bench -- claim [--stsb FOLDER] [--seeds 5] [--updates 48] [--batch 512] [--small 32] [--workers 1] [--write]
 *
 * The text is WordNet: the term of a definition is to be found. With a folder of the STS benchmark (train.csv, dev.csv, test.csv)
 * it is that too: the sentence that says the same is to be found. A run is a process with one thread; `--workers` of them go at
 * once, with the same figures. `--write` puts tables into RESULTS.md, and a plot beside it.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { threads } from '../lib/index.js';
import { projectRoot } from '../test/oracle/python.js';
import { claimsTable, scoresTable, type Claim, type Series } from './claim/findings.js';
import { plot } from './claim/plot.js';
import { definitions, sentences, type Task } from './claim/task.js';
import { pairsOfUpdate, trainAndMeasure, untrained, type Outcome, type Way } from './claim/train.js';
import { writeResults } from './support/results.js';

const { values } = parseArgs({
  options: {
    stsb: { type: 'string' },
    seeds: { type: 'string', default: '5' },
    updates: { type: 'string', default: '48' },
    batch: { type: 'string', default: '512' },
    small: { type: 'string', default: '32' },
    workers: { type: 'string', default: '1' },
    write: { type: 'boolean', default: false },
    run: { type: 'string' },
  },
});
const counts = [values.seeds, values.updates, values.batch, values.small, values.workers].map(Number);
const [seeds, updates, batch, small, workers] = counts as [number, number, number, number, number];
if (!counts.every((value) => Number.isInteger(value) && value > 0) || batch % small !== 0)
  throw new Error('Whole numbers are needed, and --batch a multiple of --small.');

/** Every way takes the best of these for itself. */
const RATES = [0.002, 0.005, 0.0125];
/** Of the runs that choose learning rates; the others have 1, 2, … */
const TUNING_SEED = 1000;

const parts = batch / small;
function waysOf(updates: number) {
  const smallUpdates = updates * parts;
  return {
    full: { name: 'full batch', together: batch, chunk: batch, accumulate: 1, updates },
    cached: { name: 'cached', together: batch, chunk: small, accumulate: 1, updates },
    accumulation: { name: 'accumulation', together: small, chunk: small, accumulate: parts, updates },
    pairs: {
      name: 'small batches, as many pairs',
      together: small,
      chunk: small,
      accumulate: 1,
      updates: smallUpdates,
    },
    updates: {
      name: 'small batches, as many updates',
      together: small,
      chunk: small,
      accumulate: 1,
      updates,
    },
  } satisfies Record<string, Way>;
}
type Name = keyof ReturnType<typeof waysOf>;

/** One training, in a process of its own. */
interface Run {
  readonly stsb: string | undefined;
  readonly way: Way;
  readonly held: 'dev' | 'test';
  readonly lr: number;
  readonly seed: number;
}

const bodies: string[] = [];
const drawn: { name: string; series: Series[] }[] = [];
let seconds = 0;
if (values.run !== undefined) await runOne(JSON.parse(values.run) as Run);
else {
  for (const stsb of values.stsb === undefined ? [undefined] : [undefined, values.stsb]) {
    const task = await taskOf(stsb);
    const found = await runAll(task, stsb);
    drawn.push({ name: task.name, series: Object.values(found) });
    bodies.push(await bodyOf(task, found));
    console.log(bodies.at(-1));
    if (values.write) write();
  }
}

function taskOf(stsb: string | undefined): Promise<Task> {
  return stsb === undefined ? definitions() : sentences(stsb);
}

async function runOne({ stsb, way, held, lr, seed }: Run): Promise<void> {
  threads(1);
  const task = await taskOf(stsb);
  const outcome = await trainAndMeasure(way, task.train, task[held], { lr, seed, batch });
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}

/** Writes what there is so far. */
function write(): void {
  writeFileSync(join(projectRoot, 'bench', 'claim.svg'), plot(drawn));
  const stsb = drawn.length > 1 ? '--stsb FOLDER ' : '';
  const sizes = `--seeds ${seeds} --updates ${updates} --batch ${batch} --small ${small}`;
  writeResults('The claim on real text', `npm run bench -- claim ${stsb}${sizes} --write`, report());
}

/** Trains in every way: with every learning rate first, then with the best one and every seed. */
async function runAll(task: Task, stsb: string | undefined): Promise<Record<Name, Series>> {
  const ways = waysOf(Math.ceil(updates / task.shorter));
  const names = Object.keys(ways) as Name[];
  // A full batch is to be the same as a cached one: it has no learning rate of its own.
  const tuned = names.filter((name) => name !== 'full');
  const trials = await inProcesses(
    tuned.flatMap((name) =>
      RATES.map((lr): Run => ({ stsb, way: ways[name], held: 'dev', lr, seed: TUNING_SEED })),
    ),
  );
  const rateOf = (name: Name): number => {
    const own = tuned.indexOf(name === 'full' ? 'cached' : name) * RATES.length;
    const scores = trials.slice(own, own + RATES.length).map(({ mrr10 }) => mrr10);
    return RATES[scores.indexOf(Math.max(...scores))]!;
  };
  const runs = await inProcesses(
    names.flatMap((name) =>
      Array.from({ length: seeds }, (_, k): Run => ({
        stsb,
        way: ways[name],
        held: 'test',
        lr: rateOf(name),
        seed: k + 1,
      })),
    ),
  );
  const series = names.map((name, place): [Name, Series] => {
    const way = ways[name];
    const own = runs.slice(place * seeds, (place + 1) * seeds);
    return [
      name,
      { name: way.name, pairs: pairsOfUpdate(way), updates: way.updates, lr: rateOf(name), runs: own },
    ];
  });
  return Object.fromEntries(series) as Record<Name, Series>;
}

/** What the runs come to, in their order; so many at once as there are workers. */
async function inProcesses(runs: readonly Run[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < runs.length) {
      const place = next++;
      outcomes[place] = await inProcess(runs[place]!);
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  return outcomes;
}

async function inProcess(run: Run): Promise<Outcome> {
  const sizes = ['--batch', String(batch), '--small', String(small)];
  const child = spawn(
    process.execPath,
    [fileURLToPath(import.meta.url), ...sizes, '--run', JSON.stringify(run)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: '1' },
    },
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code !== 0) throw new Error(`${JSON.stringify(run)} ended with ${String(code)}`);
  const outcome = JSON.parse(output) as Outcome;
  seconds += outcome.seconds;
  console.log(`${run.way.name}, learning rate ${run.lr}, seed ${run.seed}, ${run.held}: ${output.trim()}`);
  return outcome;
}

async function bodyOf({ name, train, test }: Task, found: Record<Name, Series>): Promise<string> {
  const before = await untrained(test, 1);
  const claims: Claim[] = [
    { better: found.full, worse: found.cached, equal: true, at: 'updates and pairs' },
    { better: found.cached, worse: found.accumulation, at: 'updates and pairs' },
    { better: found.cached, worse: found.pairs, at: 'pairs' },
    { better: found.accumulation, worse: found.pairs, at: 'pairs' },
    { better: found.cached, worse: found.updates, at: 'updates' },
    { better: found.accumulation, worse: found.updates, at: 'updates' },
  ];
  return [
    `**${name}**: ${train.length.toLocaleString('en')} pairs to train on; ${test.queries.length} queries held out, whose answers are`,
    `among ${test.documents.length} texts. Random weights have an MRR@10 of ${before.mrr10.toFixed(4)}.`,
    '',
    scoresTable(Object.values(found)),
    '',
    claimsTable(claims),
  ].join('\n');
}

function report(): string {
  const minutes = Math.round(seconds / 60);
  return [
    `A BERT of one layer, 128 wide, from random weights, InfoNCE in both directions, AdamW. Batches of ${batch} pairs. Cached has ${small} texts`,
    `in the encoder at once, the full batch a whole tower; accumulation adds up ${parts} batches of ${small}. Every way has the learning rate of`,
    `${RATES.join(', ')} that is best`,
    `for it on other held-out texts, with a seed of its own. Runs of a seed begin with the same weights and see the same pairs in the same`,
    `order. Figures are means over ${seeds} seeds and the standard deviation of a run; a claim is shown if it holds with every seed by every`,
    `measure. One thread, ${minutes} minutes of a processor in all.`,
    '',
    '![MRR@10 and recall@10 of every way to train, a dot a seed](claim.svg)',
    '',
    ...bodies.flatMap((body) => [body, '']),
    `**Not shown here**: the paper's own figures, top-20 accuracy on Natural Questions with 21 million passages and BERT base; what a model`,
    'that has been trained on text before gains; and more than two batch sizes. What a table above answers with no was not shown either.',
  ].join('\n');
}
