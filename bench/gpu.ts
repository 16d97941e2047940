/**
 * The cached step on a GPU beside its peers: the same tokens, shapes, loss, dropout and optimizer on one card in one run,
 * blocks of steps of each side in turn.
 *
 *   npm run bench -- gpu [--budget 480] [--groups ID,…] [--checks NAME,…] [--no-peers] [--out FOLDER] [--write]
 *   npm run bench -- gpu --report FILE.jsonl [--write]       tables from what an earlier run wrote
 *   npm run bench -- gpu --device cpu --tiny                 tries everything out in small
 *
 * GRAD_CACHE_SRC names the src folder of luyug/GradCache; without it that peer reports an error in its row. On a machine
 * without npm: `node dist/bench/gpu.js`.
 */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { oraclePackages, projectRoot } from '../test/oracle/python.js';
import { UNPADDED, type Group, type Job } from './gpu/jobs.js';
import { LineProcess } from './gpu/line-process.js';
import { SHAPES, type Shape } from './gpu/models.js';
import type { BlockResult } from './gpu/ours.js';
import { groups as allGroups, tiny } from './gpu/plan.js';
import type { Record } from './gpu/records.js';
import { report } from './gpu/report.js';
import { workload, writeWorkload } from './gpu/workload.js';
import { writeResults } from './support/results.js';

/** A rival that took this many times the time of the best one in the first round is not run again. */
const FAR_BEHIND = 1.12;

/** Seconds that starting a block takes beside its steps: the model, its optimizer, the tokens. */
const SETUP = 1.5;

/** Room for a folder of the largest model. */
const LARGEST_FOLDER = 20 * 2 ** 30;

const { values: options } = parseArgs({
  options: {
    budget: { type: 'string', default: '480' },
    groups: { type: 'string' },
    device: { type: 'string', default: 'cuda' },
    tiny: { type: 'boolean', default: false },
    checks: { type: 'string', default: 'precision,training,bits,eventLoop,power' },
    'no-peers': { type: 'boolean', default: false },
    out: { type: 'string' },
    report: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});

class Bench {
  readonly #begin = performance.now();
  readonly #device = options.device;
  readonly #shrink = options.tiny ? 8 : 1;
  readonly #budget = Number(options.budget);
  readonly #folder = mkdtempSync(join(tmpdir(), 'gradcache-bench-'));
  readonly #mine = new LineProcess(process.execPath, [join(import.meta.dirname, 'gpu', 'ours.js')]);
  readonly #peers: LineProcess | null = options['no-peers']
    ? null
    : new LineProcess(
        'python3',
        [join(projectRoot, 'bench', 'peers_gpu.py'), '--device', this.#device],
        pythonPath(),
      );
  readonly records: Record[] = [];
  #model: { readonly shape: string; readonly folder: string } | null = null;

  /** Seconds that are left of the budget. */
  get left(): number {
    return this.#budget - (performance.now() - this.#begin) / 1000;
  }

  add(record: Record): void {
    this.records.push(record);
    const line = JSON.stringify(record);
    if (options.out) appendFileSync(join(options.out, 'gpu.jsonl'), `${line}\n`);
    process.stderr.write(`${(this.#budget - this.left).toFixed(0).padStart(4)} s  ${line.slice(0, 300)}\n`);
  }

  close(): void {
    this.#mine.close();
    this.#peers?.close();
    if (this.#model) rmSync(this.#model.folder, { recursive: true, force: true });
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async run(groups: readonly Group[]): Promise<void> {
    await this.#introduce();
    // Compiling keeps the processors busy and the card idle: what is not timed runs beside it.
    const compiled = this.#compile(groups);
    await this.#untimedChecks();
    await compiled;
    await this.#checksOfSteps();
    const burst = await this.#peers?.ask({ do: 'burst', seconds: options.tiny ? 0.1 : 3 }, 60);
    process.stderr.write(`warm-up burst: ${JSON.stringify(burst)}\n`);
    for (const group of groups) await this.#group(group);
  }

  async #introduce(): Promise<void> {
    const query = spawnSync('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader'], {
      encoding: 'utf8',
    });
    const [gpu = 'no GPU', driver = ''] =
      query.status === 0 ? query.stdout.trim().split('\n')[0]!.split(', ') : [];
    const peers = (await this.#peers?.ask<{ [name: string]: string | null }>({ do: 'hello' }, 120)) ?? {};
    const burst = await this.#peers?.ask<{ teraflops: number }>(
      { do: 'burst', seconds: options.tiny ? 0.1 : 2 },
      60,
    );
    const teraflops = burst && 'teraflops' in burst ? burst.teraflops : NaN;
    const command = `node dist/bench/gpu.js ${process.argv.slice(2).join(' ')}`.trim();
    this.add({
      record: 'machine',
      date: new Date().toISOString(),
      command,
      gpu,
      driver,
      node: process.version,
      peers,
      teraflops,
    });
  }

  /** Every width and chunk that compiled peers of these groups will see, once. */
  async #compile(groups: readonly Group[]): Promise<void> {
    const wanted = new Map<
      string,
      { shape: Group['shape']; dropout: number; dynamic: boolean; batches: Map<string, [number, number]> }
    >();
    for (const { shape, dropout, kind, jobs } of groups) {
      for (const { peer } of jobs) {
        // Without padding there are no widths: it compiles once, for all numbers of tokens, in the step that is not timed.
        if (!peer?.compile || peer.name === 'full' || peer.name === UNPADDED) continue;
        const { dynamic } = peer;
        const key = `${shape} ${dropout} ${dynamic}`;
        const entry = wanted.get(key) ?? {
          shape,
          dropout,
          dynamic,
          batches: new Map<string, [number, number]>(),
        };
        for (const width of kind === 'uniform' ? [32, 128] : [32, 256]) {
          entry.batches.set(`${peer.chunk} ${width}`, [peer.chunk, width]);
        }
        wanted.set(key, entry);
      }
    }
    for (const { shape, dropout, dynamic, batches } of wanted.values()) {
      for (const batch of batches.values()) {
        // What is left over is compiled in the step that is not timed.
        if (this.left < this.#budget / 2) return;
        const request = { do: 'warm', shape: SHAPES[shape], dropout, batches: [batch], dynamic };
        const answer = await this.#peers?.ask<{ seconds: number }>(request, Math.max(1, this.left));
        process.stderr.write(`compiled ${shape} ${batch.join(' x ')}: ${JSON.stringify(answer)}\n`);
      }
    }
  }

  async #untimedChecks(): Promise<void> {
    const shape = options.tiny ? 'tiny' : 'base';
    const pairs = options.tiny ? 16 : 1024;
    const chunk = options.tiny ? 64 : 32_768;
    await this.#check('precision', 'bf16 gradient against float32 (uniform, no dropout), cosines', {
      shape,
      kind: 'uniform',
      pairs,
      chunk,
    });
    await this.#check('precision', 'the same, natural', { shape, kind: 'natural', pairs, chunk });
    await this.#check('training', 'Losses of eight steps on one batch (natural, dropout 0.1, lr 1e-4)', {
      shape,
      kind: 'natural',
      pairs,
      chunk,
    });
    await this.#check(
      'bits',
      'Two runs of one seed (natural, dropout 0.1): loss and gradients the same bits',
      { shape, kind: 'natural', pairs, chunk },
    );
  }

  async #checksOfSteps(): Promise<void> {
    const shape = options.tiny ? 'tiny' : 'base';
    const pairs = options.tiny ? 16 : 8192;
    const chunk = options.tiny ? 64 : 32_768;
    for (const kind of ['uniform', 'natural'] as const) {
      await this.#check(
        'eventLoop',
        `Event-loop delay in a step of ${pairs} pairs (${kind}), ms, the timer's own 1 included`,
        { shape, kind, pairs, chunk },
      );
      if (this.#device === 'cpu') continue;
      await this.#check('power', `Power and clock of the card in steps of ${pairs} pairs (${kind})`, {
        shape,
        kind,
        pairs,
        chunk,
      });
    }
  }

  async #check(check: string, title: string, request: object): Promise<void> {
    if (!options.checks.split(',').includes(check)) return;
    const all = { do: 'check', check, device: this.#device, shrink: this.#shrink, ...request };
    const answer = await this.#mine.ask<{ [name: string]: unknown }>(
      all,
      Math.max(1, Math.min(120, this.left)),
    );
    this.add({ record: 'check', check, title, ...answer });
  }

  async #group(group: Group): Promise<void> {
    const jobs = group.jobs.filter(({ peer }) => !peer || this.#peers);
    const slow = new Set<string>();
    const done = new Set<string>();
    const folder = await this.#folderOf(group);
    if (folder === null) return;
    const file = join(this.#folder, `${group.id}.bin`);
    writeWorkload(
      file,
      workload(group.kind, group.pairs, SHAPES[group.shape].vocabulary, this.#shrinkOf(group)),
    );
    for (const [round, steps] of group.rounds.entries()) {
      const best = new Map<string, number>();
      for (const job of jobs) {
        if (slow.has(job.id)) continue;
        if (job.insteadOf !== undefined && done.has(job.insteadOf)) continue;
        const warm = group.warm ? 1 : 0;
        const warmSteps = warm * ((group.warmPairs ?? group.pairs) / group.pairs);
        const needed = (warmSteps + steps) * job.estimate + (options.tiny ? 0 : SETUP);
        if (needed > this.left) {
          if (round === 0)
            this.add({ record: 'note', text: `${group.id}, ${job.label}, ${job.setting}: no time left` });
          continue;
        }
        const answer = await this.#block(group, job, { file, folder, warm, steps });
        this.add({ record: 'block', group: group.id, job: job.id, round, ...answer });
        if ('error' in answer) slow.add(job.id);
        else done.add(job.id);
        if (!('error' in answer) && job.peer) best.set(job.id, Math.min(...answer.seconds));
      }
      for (const [id, seconds] of best) if (seconds > FAR_BEHIND * Math.min(...best.values())) slow.add(id);
    }
  }

  #shrinkOf({ kind }: Group): number {
    // So that no text has more than 64 tokens.
    return options.tiny && kind === 'natural-8192' ? 128 : this.#shrink;
  }

  /**
   * The folder of a group's model, which the peers' Python makes: a large one after the other. None for a BERT, which each side
   * makes for itself; null where there is no such folder.
   */
  async #folderOf({ id, shape, dropout }: Group): Promise<string | undefined | null> {
    const description: Shape = SHAPES[shape];
    if (description.config === undefined) return undefined;
    if (this.#model?.shape === shape) return this.#model.folder;
    if (this.#model) rmSync(this.#model.folder, { recursive: true, force: true });
    const folder = mkdtempSync(join(roomyFolder(), 'gradcache-bench-'));
    this.#model = { shape, folder };
    const request = { do: 'make', folder, shape: description, dropout, dtype: 'bfloat16' };
    const made = await this.#peers?.ask<{ seconds: number }>(request, Math.max(1, this.left));
    process.stderr.write(`${shape}: a folder with random weights: ${JSON.stringify(made)}\n`);
    if (made !== undefined && !('error' in made)) return folder;
    this.add({ record: 'note', text: `${id}: no model; ${made?.error ?? 'the peers make it'}` });
    rmSync(folder, { recursive: true, force: true });
    this.#model = null;
    return null;
  }

  #block(
    group: Group,
    job: Job,
    { file, folder, ...times }: { file: string; folder: string | undefined; warm: number; steps: number },
  ): Promise<BlockResult | { error: string }> {
    const limit = Math.max(1, this.left + 20);
    const { shape, dropout, lora, warmPairs } = group;
    const precision = job.precision ?? group.precision ?? 'bfloat16';
    const model = { ...times, dropout, precision, folder, lora };
    if (job.peer) {
      const { name, chunk, compile, dynamic } = job.peer;
      const request = {
        do: 'block',
        peer: name,
        chunk,
        compile,
        dynamic,
        shape: SHAPES[shape],
        tokens: file,
        warm_pairs: warmPairs,
        ...model,
      };
      return this.#peers!.ask(request, limit);
    }
    const { kind, pairs } = group;
    const request = {
      do: 'block',
      shape,
      kind,
      pairs,
      warmPairs,
      device: this.#device,
      shrink: this.#shrinkOf(group),
      job: job.ours,
      ...model,
    };
    return this.#mine.ask(request, limit);
  }
}

/** Memory, where it has room for the largest model's folder. */
function roomyFolder(): string {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm');
    if (bavail * bsize > LARGEST_FOLDER) return '/dev/shm';
  } catch {
    // There is none.
  }
  return tmpdir();
}

/** Packages that the oracle's tests installed, where they are; else those that python3 has. */
function pythonPath(): NodeJS.ProcessEnv {
  if (!existsSync(oraclePackages)) return {};
  return { PYTHONPATH: [oraclePackages, process.env.PYTHONPATH].filter(Boolean).join(delimiter) };
}

function write(records: readonly Record[]): void {
  const body = report(records);
  console.log(body);
  if (options.out) writeFileSync(join(options.out, 'gpu.md'), `${body}\n`);
  // Records of several runs may stand one after the other in a file: a row is then the median over all of them.
  const machines = records.filter((entry) => entry.record === 'machine');
  const [machine] = machines;
  if (options.write && machine) {
    const commands = machines.map(({ command }) => command.replace(/ --out \S+/, '')).join('`, `');
    const dates = [...new Set(machines.map(({ date }) => date.slice(0, 10)))].join(' and ');
    writeResults('GPU', commands, body, `${dates}, ${machine.gpu}`);
  }
}

async function main(): Promise<void> {
  if (options.report) {
    const lines = readFileSync(options.report, 'utf8').trim().split('\n');
    write(lines.map((line) => JSON.parse(line) as Record));
    return;
  }
  const known = options.tiny ? tiny() : allGroups;
  const ids = options.groups?.split(',') ?? known.map(({ id }) => id);
  const unknown = ids.filter((id) => !known.some((group) => group.id === id));
  if (unknown.length > 0)
    throw new Error(`no group ${unknown.join(', ')}; there is ${known.map(({ id }) => id).join(', ')}`);
  if (options.out) mkdirSync(options.out, { recursive: true });
  const bench = new Bench();
  try {
    await bench.run(ids.map((id) => known.find((group) => group.id === id)!));
  } finally {
    bench.close();
  }
  write(bench.records);
}

await main();
