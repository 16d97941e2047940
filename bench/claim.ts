/**
 * The claim of Gradient Cache (Gao et al. 2021) on real text: a batch by cached gradients is as good as the same batch at once,
 * better than as many pairs by accumulation, and better than small batches, at equal updates and at equal pairs.
 *
 *   npm run bench -- claim [--stsb FOLDER] [--seeds 5] [--updates 48] [--batch 512] [--small 32] [--write]
 *
 * The text is WordNet: the term of a definition is to be found. With a folder of the STS benchmark (train.csv, dev.csv, test.csv)
 * it is that too: the sentence that says the same is to be found. One thread. `--write` puts tables into RESULTS.md, and a plot
 * beside it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
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
    write: { type: 'boolean', default: false },
  },
});
const [seeds, updates, batch, small] = [values.seeds, values.updates, values.batch, values.small].map(
  Number,
) as [number, number, number, number];
if (
  ![seeds, updates, batch, small].every((value) => Number.isInteger(value) && value > 0) ||
  batch % small !== 0
)
  throw new Error('Whole numbers are needed, and --batch a multiple of --small.');

/** Every way takes the best of these for itself. */
const RATES = [0.002, 0.005, 0.0125];
/** Of the runs that choose learning rates; the others have 1, 2, … */
const TUNING_SEED = 1000;

const parts = batch / small;
const WAYS = {
  full: { name: 'full batch', together: batch, chunk: batch, accumulate: 1, updates },
  cached: { name: 'cached', together: batch, chunk: small, accumulate: 1, updates },
  accumulation: { name: 'accumulation', together: small, chunk: small, accumulate: parts, updates },
  pairs: {
    name: 'small batches, as many pairs',
    together: small,
    chunk: small,
    accumulate: 1,
    updates: updates * parts,
  },
  updates: { name: 'small batches, as many updates', together: small, chunk: small, accumulate: 1, updates },
} satisfies Record<string, Way>;
type Name = keyof typeof WAYS;

threads(1);
const started = performance.now();
const tasks = [await definitions(), ...(values.stsb === undefined ? [] : [await sentences(values.stsb)])];
const bodies: string[] = [];
const drawn: { name: string; series: Series[] }[] = [];
for (const task of tasks) {
  const found = await run(task);
  drawn.push({ name: task.name, series: Object.values(found) });
  bodies.push(await bodyOf(task, found));
  console.log(bodies.at(-1));
  if (values.write) write();
}

/** Writes what there is so far. */
function write(): void {
  writeFileSync(join(projectRoot, 'bench', 'claim.svg'), plot(drawn));
  const stsb = drawn.length > 1 ? '--stsb FOLDER ' : '';
  const sizes = `--seeds ${seeds} --updates ${updates} --batch ${batch} --small ${small}`;
  writeResults('The claim on real text', `npm run bench -- claim ${stsb}${sizes} --write`, report());
}

/** Trains in every way, with every seed. */
async function run(task: Task): Promise<Record<Name, Series>> {
  const found: Partial<Record<Name, Series>> = {};
  for (const name of Object.keys(WAYS) as Name[]) {
    const way: Way = WAYS[name];
    // A full batch is to be the same as a cached one: it has no learning rate of its own.
    const lr = name === 'cached' ? found.full!.lr : await bestRate(way, task);
    const runs: Outcome[] = [];
    for (let seed = 1; seed <= seeds; seed++) {
      runs.push(await trainAndMeasure(way, task.train, task.test, { lr, seed, batch }));
      console.log(`${task.name}, ${way.name}, seed ${seed}: ${JSON.stringify(runs.at(-1))}`);
    }
    found[name] = { name: way.name, pairs: pairsOfUpdate(way), updates: way.updates, lr, runs };
  }
  return found as Record<Name, Series>;
}

/** The learning rate with which the way is best on other held-out texts. */
async function bestRate(way: Way, task: Task): Promise<number> {
  let best = { lr: 0, mrr10: -1 };
  for (const lr of RATES) {
    const { mrr10 } = await trainAndMeasure(way, task.train, task.dev, { lr, seed: TUNING_SEED, batch });
    console.log(
      `${task.name}, ${way.name}, learning rate ${lr}: MRR@10 ${mrr10.toFixed(4)} on other held-out texts`,
    );
    if (mrr10 > best.mrr10) best = { lr, mrr10 };
  }
  return best.lr;
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
  const minutes = (performance.now() - started) / 60_000;
  return [
    `A BERT of one layer, 128 wide, from random weights, InfoNCE in both directions, AdamW. Batches of ${batch} pairs, ${small} texts in`,
    `the encoder at once; accumulation adds up ${parts} batches of ${small}. Every way has the learning rate of ${RATES.join(', ')} that is best`,
    `for it on other held-out texts, with a seed of its own. Runs of a seed begin with the same weights and see the same pairs in the same`,
    `order. Figures are means over ${seeds} seeds and the standard deviation of a run; a claim is shown if it holds with every seed by every`,
    `measure. One thread, ${Math.round(minutes)} minutes in all.`,
    '',
    '![MRR@10 and recall@10 of every way to train, a dot a seed](claim.svg)',
    '',
    ...bodies.flatMap((body) => [body, '']),
    `**Not shown here**: the paper's own figures, top-20 accuracy on Natural Questions with 21 million passages and BERT base; what a model`,
    'that has been trained on text before gains; and more than two batch sizes. What a table above answers with no was not shown either.',
  ].join('\n');
}
