/**
 * Steps over several GPUs of this machine against the same steps on one, in the same run: InfoNCE, dropout 0.1, bfloat16, and
 * an update. The batch is that of all GPUs.
 *
 *   npm run bench -- ranks [--gpus 1,2] [--pairs 8192] [--shape base] [--kinds uniform,natural] [--steps 4] [--rivals] [--write]
 *
 * `--rivals` measures sentence-transformers with `gather_across_devices` under torchrun too, on as many GPUs.
 * `--device cpu --shape tiny --pairs 64` tries it out without GPUs.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { deal } from '../lib/data/deal.js';
import { launchRanks } from '../lib/distributed/launch.js';
import { AdamW, GradCache, infoNCE, memory, Ranks, type StepResult, type TokenBatch } from '../lib/index.js';
import { createEncoder, SHAPES, type ShapeName } from './gpu/models.js';
import { projectRoot, pythonEnvironment } from '../test/oracle/python.js';
import { workload, writeWorkload, type Kind } from './gpu/workload.js';
import { median } from './support/median.js';
import { gpuName, table, writeResults } from './support/results.js';

const { values: given } = parseArgs({
  options: {
    gpus: { type: 'string', default: '1,2' },
    pairs: { type: 'string', default: '8192' },
    shape: { type: 'string', default: 'base' },
    kinds: { type: 'string', default: 'uniform,natural' },
    steps: { type: 'string', default: '4' },
    chunk: { type: 'string', default: '32768' },
    device: { type: 'string', default: 'cuda' },
    rivals: { type: 'boolean', default: false },
    /** Tokens of sentence-transformers in the encoder at once. */
    'rivals-chunk': { type: 'string', default: '131072' },
    write: { type: 'boolean', default: false },
    /** Of a rank: what it measures, and where it puts what it found. */
    kind: { type: 'string' },
    out: { type: 'string' },
  },
});

interface Measured {
  readonly kind: Kind;
  readonly gpus: number;
  /** Of all ranks. */
  readonly tokens: number;
  /** Median of the timed steps, with the update. */
  readonly seconds: number;
  /** Of the last step on rank 0, in milliseconds. */
  readonly phases: Readonly<Record<'forward' | 'loss' | 'backward' | 'total', number>>;
  readonly peak: number;
  /** Milliseconds that a meeting takes by itself. */
  readonly meeting: number;
}

/** Some texts of a batch. */
function taken({ ids, offsets }: TokenBatch, rows: Uint32Array): TokenBatch {
  const parts = Array.from(rows, (row) => ids.subarray(offsets[row], offsets[row + 1]));
  const begin = new Int32Array(rows.length + 1);
  for (const [k, part] of parts.entries()) begin[k + 1] = begin[k]! + part.length;
  const all = new Int32Array(begin.at(-1)!);
  for (const [k, part] of parts.entries()) all.set(part, begin[k]);
  return { ids: all, offsets: begin, truncated: 0 };
}

/** What a rank does. */
async function measure(kind: Kind, out: string): Promise<void> {
  const ranks = (await Ranks.join({ device: given.device, timeout: 120 }))!;
  const shape = SHAPES[given.shape as ShapeName];
  const precision = ranks.device === 'cpu' ? 'float32' : 'bfloat16';
  const encoder = await createEncoder(shape, { device: ranks.device, precision, dropout: 0.1, seed: 1 });
  const towers = workload(kind, Number(given.pairs), shape.vocabulary, shape.positions < 256 ? 8 : 1);
  const lengths = Array.from({ length: Number(given.pairs) }, (_, row) =>
    towers.reduce((sum, { offsets }) => sum + offsets[row + 1]! - offsets[row]!, 0),
  );
  const rows = deal(lengths, ranks.size)[ranks.rank]!;
  const batches = towers.map((tower) => taken(tower, rows));
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ precision: precision === 'bfloat16' ? 'fast' : 'exact' }),
    chunk: { tokens: Number(given.chunk) },
    ranks,
  });
  const optimizer = new AdamW(encoder.parameters(), { lr: 1e-5 });
  const seconds: number[] = [];
  let last: StepResult | undefined;
  for (let step = 0; step <= Number(given.steps); step++) {
    const begin = performance.now();
    last = await gradcache.step([batches[0]!, batches[1]!]);
    await optimizer.step();
    if (step > 0) seconds.push((performance.now() - begin) / 1000);
  }
  const begin = performance.now();
  for (let k = 0; k < 20; k++) await ranks.numbers([k]);
  const meeting = (performance.now() - begin) / 20;
  if (ranks.rank === 0) {
    const measured: Measured = {
      kind,
      gpus: ranks.size,
      tokens: last!.tokens,
      seconds: median(seconds),
      phases: last!.milliseconds,
      peak: memory(ranks.device).peak,
      meeting,
    };
    writeFileSync(out, JSON.stringify(measured));
  }
  await ranks.close();
}

/** Starts the ranks of a measurement. */
async function measured(kind: Kind, gpus: number, folder: string): Promise<Measured> {
  const out = join(folder, `${kind}-${gpus}.json`);
  const same = ['pairs', 'shape', 'steps', 'chunk', 'device'] as const;
  const args = [`--kind=${kind}`, `--out=${out}`, ...same.map((name) => `--${name}=${given[name]}`)];
  const code = await launchRanks({ ranks: gpus, program: fileURLToPath(import.meta.url), args });
  if (code !== 0) throw new Error(`${gpus} ranks ended with ${code}`);
  return JSON.parse(readFileSync(out, 'utf8')) as Measured;
}

/** Seconds of a step of sentence-transformers, and what it is. */
function rival(
  kind: Kind,
  gpus: number,
  folder: string,
): { seconds: number; peak: number; versions: string } {
  const shape = SHAPES[given.shape as ShapeName];
  const tokens = join(folder, `${kind}.tokens`);
  writeWorkload(tokens, workload(kind, Number(given.pairs), shape.vocabulary, shape.positions < 256 ? 8 : 1));
  const { status, stdout, stderr } = spawnSync(
    process.env.GRADCACHE_PYTHON || 'python3',
    [
      ...['-m', 'torch.distributed.run', '--standalone', `--nproc-per-node=${gpus}`],
      join(projectRoot, 'bench', 'peers_ranks.py'),
      ...['--tokens', tokens, '--shape', JSON.stringify(shape), '--chunk', given['rivals-chunk']],
      ...['--steps', given.steps, '--device', given.device],
      ...(given.device === 'cuda' ? ['--compile'] : []),
    ],
    { env: pythonEnvironment(), encoding: 'utf8' },
  );
  if (status !== 0)
    throw new Error(`sentence-transformers on ${gpus} ranks ended with ${status}: ${stderr.slice(-6000)}`);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as ReturnType<typeof rival>;
}

/** The steps of sentence-transformers beside those of gradcache. */
function rivals(all: readonly Measured[], folder: string): string {
  const rows = all.map(({ kind, gpus, seconds }) => {
    const { seconds: theirs, peak, versions } = rival(kind, gpus, folder);
    process.stderr.write(`${kind} ${gpus} sentence-transformers ${theirs}\n`);
    const times = Number((theirs / seconds).toFixed(2));
    return [kind, gpus, Number(theirs.toFixed(3)), times, Number((peak / 2 ** 30).toFixed(1)), versions];
  });
  return table(
    ['Texts', 'GPUs', 'step of sentence-transformers, s', 'times ours', 'peak, GiB', 'versions'],
    rows,
  );
}

async function report(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-ranks-'));
  const counts = given.gpus.split(',').map(Number);
  const all: Measured[] = [];
  let compared = '';
  try {
    for (const kind of given.kinds.split(',') as Kind[])
      for (const gpus of counts) {
        const found = await measured(kind, gpus, folder);
        all.push(found);
        process.stderr.write(`${JSON.stringify(found)}\n`);
      }
    if (given.rivals)
      compared = `\n\nCachedMultipleNegativesRankingLoss with \`gather_across_devices\`, unpadded, compiled, ${given['rivals-chunk']} tokens at once, the same texts:\n\n${rivals(all, folder)}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
  const measuredTable = table(
    [
      'Texts',
      'GPUs',
      'thousand tokens a second',
      'times one',
      'step, s',
      'encoding',
      'loss',
      'backward',
      'peak, GiB',
      'a meeting, ms',
    ],
    all.map(({ kind, gpus, tokens, seconds, phases, peak, meeting }) => {
      const one = all.find((each) => each.kind === kind && each.gpus === counts[0])!;
      const times = (one.seconds / seconds) * (tokens / one.tokens);
      const ms = (of: number): number => Math.round(of);
      return [
        kind,
        gpus,
        Math.round(tokens / seconds / 1000),
        Number(times.toFixed(3)),
        Number(seconds.toFixed(3)),
        ms(phases.forward),
        ms(phases.loss),
        ms(phases.backward),
        Number((peak / 2 ** 30).toFixed(1)),
        Number(meeting.toFixed(2)),
      ];
    }),
  );
  const head = `${given.pairs} pairs of all GPUs, ${given.shape} shape, chunks of ${given.chunk} tokens; phases in ms, of rank 0.`;
  const body = measuredTable + compared;
  console.log(`${head}\n\n${body}`);
  if (given.write)
    writeResults(
      'Several GPUs',
      `npm run bench -- ranks --gpus ${given.gpus}${given.rivals ? ' --rivals' : ''} --write`,
      `${head}\n\n${body}`,
      `${new Date().toISOString().slice(0, 10)}, ${gpuName()}`,
    );
  if (given.device === 'cuda')
    process.stderr.write(spawnSync('nvidia-smi', ['topo', '-m'], { encoding: 'utf8' }).stdout ?? '');
}

await (given.kind === undefined ? report() : measure(given.kind as Kind, given.out!));
