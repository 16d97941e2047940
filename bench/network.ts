/**
 * Steps of two ranks on two machines, which are network namespaces of Linux here with a slow cable between them: gradients added
 * up after the backward pass or under it, in float32 or bfloat16. Needs root. Beside that, what steps of many GPUs should take by
 * arithmetic.
 *
 *   npm run bench -- network [--rates 2] [--pairs 256] [--chunk 256] [--shape tiny] [--steps 4] [--rounds 1] [--tied] [--write]
 *
 * Rates are in Mbit/s, and a chunk has so many rows (default: what memory allows). A round measures each way once; of several
 * rounds the median is told, and the range. Processes of others on the machine then change all ways alike.
 *
 * With `--tied` both towers have one encoder, so that only the layers of the last chunk can hide their exchange. Choose rate,
 * pairs and chunk so that the backward of the last chunk takes about as long as the exchange.
 */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import {
  GradCache,
  infoNCE,
  Ranks,
  type Parameter,
  type Reduction,
  type StepProgress,
} from '../lib/index.js';
import { requireCount } from '../lib/options/option-values.js';
import { openNetwork, type Network } from '../test/distributed/namespaces.js';
import { runRanks } from '../test/distributed/start-ranks.js';
import { createEncoder, SHAPES, type ShapeName } from './gpu/models.js';
import { workload } from './gpu/workload.js';
import { median } from './support/median.js';
import { table, writeResults } from './support/results.js';

const { values: given } = parseArgs({
  options: {
    rates: { type: 'string', default: '2' },
    pairs: { type: 'string', default: '256' },
    shape: { type: 'string', default: 'tiny' },
    chunk: { type: 'string' },
    steps: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '1' },
    tied: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    /** Of a rank: how it adds up gradients. */
    reduction: { type: 'string' },
  },
});

for (const option of ['pairs', 'chunk', 'steps', 'rounds'] as const)
  if (given[option] !== undefined) requireCount(`--${option}`, Number(given[option]), 1);

const WAYS: Readonly<Record<string, Reduction>> = {
  'after the backward pass': {},
  'under the backward pass': { overlap: true },
  'bfloat16, after': { type: 'bfloat16' },
  'bfloat16, under': { type: 'bfloat16', overlap: true },
};

interface Measured {
  /** Median of the steps. */
  readonly seconds: number;
  /** Of the gradients of all encoders, in float32. */
  readonly bytes: number;
  /** Of these the part that the embeddings have, whose backward comes last. */
  readonly embeddings: number;
  /** Median of the backwards of the last chunk. */
  readonly last: number;
}

/** What a rank does. */
async function measure(reduction: Reduction): Promise<void> {
  const ranks = (await Ranks.join({ timeout: 300 }))!;
  const shape = SHAPES[given.shape as ShapeName];
  const options = { device: 'cpu', precision: 'float32', dropout: 0 } as const;
  const first = await createEncoder(shape, options);
  const encoders = [first, given.tied ? first : await createEncoder(shape, options)] as const;
  const towers = workload('uniform', Number(given.pairs), shape.vocabulary, 8);
  const chunk = given.chunk === undefined ? 'auto' : { sequences: Number(given.chunk) };
  const gradcache = new GradCache({ encoders, loss: infoNCE(), ranks, reduction, chunk });
  const [seconds, lasts]: [number[], number[]] = [[], []];
  let before = 0;
  const onProgress = ({ phase, chunk, chunks }: StepProgress): void => {
    const now = performance.now();
    if (phase === 'backward' && chunk === chunks) lasts.push((now - before) / 1000);
    before = now;
  };
  for (let step = 0; step < Number(given.steps); step++) {
    const begin = performance.now();
    await gradcache.step(towers, { onProgress });
    seconds.push((performance.now() - begin) / 1000);
  }
  const sizeOf = (parameters: readonly Parameter[]): number =>
    parameters.reduce((sum, { tensor }) => sum + tensor.byteLength, 0);
  const all = gradcache.parameters();
  const embeddings = sizeOf(all.filter(({ name }) => name.startsWith('embeddings.')));
  const found = { seconds: median(seconds), last: median(lasts), bytes: sizeOf(all), embeddings };
  console.log(JSON.stringify(found satisfies Measured));
  await ranks.close();
}

/** Options that ranks take from this program's command line. */
const FOR_RANKS = ['pairs', 'shape', 'steps', 'chunk'] as const;

async function measured(network: Network, reduction: Reduction): Promise<Measured> {
  const same = FOR_RANKS.flatMap((option) =>
    given[option] === undefined ? [] : [`--${option}=${given[option]}`],
  );
  if (given.tied) same.push('--tied');
  const [first] = await runRanks<Measured>(
    2,
    '../../bench/network.js',
    [`--reduction=${JSON.stringify(reduction)}`, ...same],
    { env: { MASTER_ADDR: network.address }, through: network.on, limit: 600 },
  );
  return first!;
}

/** How many processes wanted to run on the machine after each measurement. */
const loads: number[] = [];

async function simulated(): Promise<string> {
  const network = openNetwork();
  if (network === null) throw new Error('network namespaces need root');
  const rows: (string | number)[][] = [];
  try {
    for (const rate of [null, ...given.rates.split(',').map(Number)]) {
      if (rate !== null) network.limit(rate);
      const found = new Map<string, Measured[]>(Object.keys(WAYS).map((name) => [name, []]));
      for (let round = 0; round < Number(given.rounds); round++)
        for (const [name, reduction] of Object.entries(WAYS)) {
          const next = await measured(network, reduction);
          loads.push(loadavg()[0]!);
          found.get(name)!.push(next);
          process.stderr.write(
            `round ${round + 1}, ${rate ?? 'no limit'}, ${name}: ${next.seconds.toFixed(2)} s\n`,
          );
        }
      for (const [name, all] of found) rows.push(rowOf(rate, name, all));
    }
  } finally {
    network.dispose();
  }
  return table(
    [
      ...['limit, Mbit/s', 'gradients added up', 'step, s', 'of rounds, s', 'sent, MB', 'least for that, s'],
      'backward of the last chunk, s',
      ...(given.tied ? ['of that at most hidden, s'] : []),
    ],
    rows,
  );
}

/** A row of the table: a way at a rate, over all rounds. */
function rowOf(rate: number | null, name: string, rounds: readonly Measured[]): (string | number)[] {
  const seconds = rounds.map((round) => round.seconds);
  const last = median(rounds.map((round) => round.last));
  const { bytes, embeddings } = rounds[0]!;
  const share = WAYS[name]!.type === 'bfloat16' ? 2 : 1;
  const secondsOf = (count: number): number => (rate === null ? 0 : (8 * count) / (rate * 1e6));
  return [
    rate ?? 'none',
    name,
    Number(median(seconds).toFixed(2)),
    `${Math.min(...seconds).toFixed(2)} to ${Math.max(...seconds).toFixed(2)}`,
    Number((bytes / share / 1e6).toFixed(2)),
    Number(secondsOf(bytes / share).toFixed(1)),
    Number(last.toFixed(2)),
    ...(given.tied ? [Number(Math.min(last, secondsOf((bytes - embeddings) / share)).toFixed(1))] : []),
  ];
}

/** What a step of many GPUs takes, by arithmetic. */
function computed(): string {
  const [gpus, weights, width] = [8, 109.5e6, 768];
  // A GPU's own part of a step, measured: 8,192 pairs in 2.014 s, in proportion to the pairs.
  const alone = (pairs: number): number => (2.014 * pairs) / 8192;
  const rows: (string | number)[][] = [];
  for (const pairs of [1024, 8192])
    for (const gigabits of [25, 100])
      for (const machines of [2, 4, 8]) {
        const bytesASecond = (gigabits * 1e9) / 8;
        const others = (machines - 1) / machines;
        const gradients = (2 * others * weights * 4) / bytesASecond;
        // Of two towers: representations to all, and the gradients of all back.
        const representations = (2 * 2 * others * machines * gpus * pairs * width * 4) / bytesASecond;
        const loss = (8 * (machines * gpus * pairs) ** 2 * width) / (machines * gpus) / 600e12;
        const own = alone(pairs) + loss;
        const exact = own + gradients + representations;
        const narrow = own + gradients / 2 + representations;
        rows.push([
          pairs,
          gigabits,
          machines * gpus,
          ...[alone(pairs), loss, gradients, representations, exact].map((s) => Number(s.toFixed(3))),
          ...[exact, narrow].map((s) => Number(((machines * gpus * alone(pairs)) / s).toFixed(1))),
        ]);
      }
  const columns = ['pairs a GPU', 'Gbit/s a machine', 'GPUs', 'alone, s', 'loss, s', 'gradients, s'];
  return table(
    [...columns, 'representations, s', 'step, s', 'times one GPU', 'times one, gradients in bfloat16'],
    rows,
  );
}

async function report(): Promise<void> {
  const measuredTable = await simulated();
  const body = `**Measured**: two ranks on this machine in two network namespaces, the cable between them limited by \`tbf\` of Linux; a delay
is not simulated. Two towers with ${given.tied ? 'one encoder' : 'encoders of their own'}, ${given.shape} shape, ${given.pairs} pairs a rank, chunks of ${given.chunk ?? 'as many rows as memory allows'}${given.chunk === undefined ? '' : ' rows'}, float32 on the CPU, Gloo.
A rank sends each gradient once, to the only other rank. With encoders of their own the backward pass of one tower can hide the exchange
of the other; with one encoder the backward of the last chunk can hide that of its layers, but not that of the embeddings, which come
last. Median of ${given.rounds} rounds, in each of which every way came once. The load average of the machine was ${Math.min(...loads).toFixed(0)} to ${Math.max(...loads).toFixed(0)} meanwhile. Of its cores the ranks need two.

${measuredTable}

**Computed, not measured**: BERT of the base shape, machines of 8 GPUs with one network card each, one direction of InfoNCE,
d = 768. Times on the network are those of a ring: a machine of M sends 2 (M - 1) / M times the 438 MB of gradients, and (M - 1) / M
times N × d × 4 bytes of representations and of their gradients, for each of two towers. A GPU alone takes what was measured on one H200
(2.014 s for 8,192 pairs), the loss 8 N² d operations at the measured 600 TFLOP/s, divided over the GPUs. What NVLink takes within a machine
is left out: 1.6 ms for the gradients, measured. Nothing is hidden under anything.

${computed()}`;
  console.log(body);
  if (given.write)
    writeResults('Over a network', `npm run bench -- network ${process.argv.slice(2).join(' ')}`, body);
}

await (given.reduction === undefined ? report() : measure(JSON.parse(given.reduction) as Reduction));
