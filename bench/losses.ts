/**
 * Losses over all pairs on the CPU, with their gradients, beside those of peers: random representations, the same machine, one
 * call of each in turn, so that a busy minute hits all of them. Then the memory of a larger batch.
 *
 *   npm run bench -- losses [--pairs 16384] [--dimension 384] [--rounds 3] [--quick] [--write]
 *
 * `--quick` leaves out most settings of peers, and the memory.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import {
  call,
  infoNCE,
  matryoshka,
  memory,
  resetPeakMemory,
  sigLIP,
  withSeed,
  type Loss,
  type Tensor,
} from '../lib/index.js';
import { withGradients } from '../lib/losses/loss.js';
import { PythonServer } from '../test/oracle/python.js';
import { median } from './support/median.js';
import { table, writeResults } from './support/results.js';

const MIB = 2 ** 20;
/** The batch whose memory is measured. */
const LARGE = { pairs: 65_536, dimension: 256 };
const BOTH = ['query_to_doc', 'doc_to_query'];

interface Contender {
  readonly name: string;
  readonly what: string;
  readonly rows: number | null;
  /** Loss and gradients once; returns seconds. */
  run(): Promise<number>;
}

interface Made {
  readonly threads: number;
  readonly torch: string;
  readonly sentenceTransformers: string;
  readonly python: string;
}

function representations(pairs: number, dimension: number): Tensor[] {
  return withSeed(1, () => [1, 2].map(() => call<Tensor>('aten::randn', [pairs, dimension])));
}

async function runOnce(loss: Loss, towers: readonly Tensor[]): Promise<number> {
  const start = performance.now();
  const { gradients } = await withGradients(loss).compute(towers, 1, {});
  const seconds = (performance.now() - start) / 1000;
  for (const gradient of gradients) gradient?.dispose();
  return seconds;
}

class Peers {
  readonly #server = new PythonServer('bench/peers_losses.py');

  async ask<T>(request: object): Promise<T> {
    const answer = (await this.#server.ask(request)) as T & { error?: string };
    if (answer.error !== undefined) throw new Error(`${JSON.stringify(request)}: ${answer.error}`);
    return answer;
  }

  contender(name: string, rows: number, what: string, directions = ['query_to_doc']): Contender {
    const request = { do: 'step', peer: name, rows, directions };
    return { name, what, rows, run: async () => (await this.ask<{ seconds: number }>(request)).seconds };
  }

  close(): void {
    this.#server.close();
  }
}

function contenders(peers: Peers, towers: readonly Tensor[], quick: boolean): Contender[] {
  const rows = quick ? [512] : [256, 512, 1024, 2048, 4096];
  const ours = (what: string, loss: Loss): Contender => ({
    name: 'gradcache',
    what,
    rows: null,
    run: () => runOnce(loss, towers),
  });
  const theirs = 'sentence-transformers';
  return [
    ...rows.map((each) => peers.contender(theirs, each, 'InfoNCE, one direction')),
    ...rows.slice(-3).map((each) => peers.contender(theirs, each, 'InfoNCE, both directions', BOTH)),
    peers.contender('products', quick ? 512 : 2048, 'three products alone'),
    ours('InfoNCE, one direction', infoNCE()),
    ours('InfoNCE, both directions', infoNCE({ symmetric: true })),
    ours('SigLIP', sigLIP({ learned: false })),
    ours('Matryoshka of InfoNCE, five lengths', matryoshka(infoNCE(), { dimensions: lengthsOf(towers[0]!) })),
  ];
}

/** The whole length, and parts of it like 768, 512, 256, 128 and 64. */
const lengthsOf = (tower: Tensor): number[] =>
  [1, 2 / 3, 1 / 3, 1 / 6, 1 / 12].map((part) => Math.round(part * tower.shape[1]!));

/** Bytes beyond representations and gradients at the highest point of a loss, in this process. */
async function peakOf({ pairs, dimension }: typeof LARGE): Promise<number> {
  await runOnce(infoNCE({ symmetric: true }), representations(1024, dimension)); // pools of allocators have their size
  const towers = representations(pairs, dimension);
  resetPeakMemory('cpu');
  const before = memory('cpu').allocated;
  await runOnce(infoNCE({ symmetric: process.argv.includes('--symmetric') }), towers);
  const gradients = 2 * pairs * dimension * 4;
  return memory('cpu').peak - before - gradients;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      pairs: { type: 'string', default: '16384' },
      dimension: { type: 'string', default: '384' },
      rounds: { type: 'string', default: '3' },
      quick: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      peak: { type: 'boolean', default: false },
      symmetric: { type: 'boolean', default: false },
    },
  });
  if (values.peak) {
    console.log(JSON.stringify(await peakOf(LARGE)));
    return;
  }
  const [pairs, dimension, rounds] = [Number(values.pairs), Number(values.dimension), Number(values.rounds)];
  const towers = representations(pairs, dimension);
  const peers = new Peers();
  try {
    const made = await peers.ask<Made>({ do: 'make', pairs, dimension });
    const all = contenders(peers, towers, values.quick);
    const seconds = new Map<Contender, number[]>(all.map((each) => [each, []]));
    for (let round = 0; round <= rounds; round++) {
      for (const each of all) {
        const taken = await each.run();
        if (round > 0) seconds.get(each)!.push(taken); // the first round warms up
      }
      process.stderr.write(`round ${round} of ${rounds} done\n`);
    }
    const at = (each: Contender) => median(seconds.get(each)!);
    const best = (what: string) =>
      Math.min(...all.filter((each) => each.rows !== null && each.what === what).map(at));
    const rows = all.map((each) => [
      each.what,
      each.name,
      each.rows ?? '',
      Number(at(each).toFixed(2)),
      Math.round((6 * pairs * pairs * dimension) / at(each) / 1e9),
      Number.isFinite(best(each.what)) ? Number((best(each.what) / at(each)).toFixed(2)) : '',
    ]);
    const body = [
      `${pairs} pairs, dimension ${dimension}, float32, cosine, scale 20; loss and all gradients, median of ${rounds} interleaved calls. ` +
        `Rates count three products, 6 N² d operations. ${made.threads} threads, torch ${made.torch}, sentence-transformers ` +
        `${made.sentenceTransformers}, Python ${made.python}.`,
      '',
      table(['', '', 'anchors at a time', 'seconds', 'GFLOP/s', 'of the best peer'], rows),
      ...(values.quick ? [] : ['', ...memories()]),
    ].join('\n');
    console.log(body);
    if (values.write) writeResults('Losses on the CPU', 'npm run bench -- losses --write', body);
  } finally {
    peers.close();
  }
}

/** Each in a process of its own, which has inherited no memory. */
function memories(): string[] {
  const program = fileURLToPath(import.meta.url);
  const inOwnProcess = (...flags: string[]) =>
    (
      Number(execFileSync(process.execPath, [program, '--peak', ...flags], { encoding: 'utf8' })) / MIB
    ).toFixed(0);
  return [
    `${LARGE.pairs} pairs, dimension ${LARGE.dimension}: ${inOwnProcess()} MiB beyond representations and gradients for one direction, ` +
      `${inOwnProcess('--symmetric')} MiB for both.`,
  ];
}

await main();
