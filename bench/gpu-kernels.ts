/**
 * Where the time of one chunk goes on the GPU: Nsight Compute times every kernel of a pass without a graph, and of a pass
 * forward and backward.
 *
 *   npm run bench -- gpu-kernels [--shape base] [--kind uniform] [--tokens 32768] [--out FILE] [--write]
 *   npm run bench -- gpu-kernels --csv FILE --gpu NAME …      the table from what ncu wrote into FILE on that card
 *
 * Kernels are timed one at a time, so neither gaps between them nor the power cap of a card under load are in the figures.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { call, Tensor } from '../lib/index.js';
import { createEncoder, SHAPES, type ShapeName } from './gpu/models.js';
import { workload, type Kind } from './gpu/workload.js';
import { gpuName, table, writeResults } from './support/results.js';

const { values: options } = parseArgs({
  options: {
    shape: { type: 'string', default: 'base' },
    kind: { type: 'string', default: 'uniform' },
    tokens: { type: 'string', default: '32768' },
    device: { type: 'string', default: 'cuda' },
    csv: { type: 'string' },
    gpu: { type: 'string' },
    out: { type: 'string' },
    pass: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});

/** The kernel that stands between what is counted and what is not: nothing else here uses it. */
const MARK = 'erfinv';

/** Two rounds of the passes over the longest rows of the positives; the mark stands before the second. */
async function passes(): Promise<void> {
  const { device } = options;
  const shape = SHAPES[options.shape as ShapeName];
  const encoder = await createEncoder(shape, { device, precision: 'bfloat16', dropout: 0.1 });
  const batch = workload(options.kind as Kind, 2048, shape.vocabulary)[1];
  const lengths = encoder.lengths(batch);
  const rows: number[] = [];
  let tokens = 0;
  for (const [row, length] of lengths.entries()) {
    if (tokens + length > Number(options.tokens)) break;
    rows.push(row);
    tokens += length;
  }
  rows.sort((a, b) => lengths[b]! - lengths[a]!);
  const chunk = { batch, rows: Int32Array.from(rows), tokens };
  const mark = Tensor.from([0.5], { device });
  for (let round = 0; round < 2; round++) {
    call('aten::erfinv', mark).dispose();
    const { representations, ticket } = await encoder.forwardChunk(chunk, { seed: 1 });
    await encoder.backwardChunk(chunk, ticket, representations);
  }
  call('aten::erfinv', mark).dispose();
}

/** What ncu measures of every kernel. */
const TIME = 'gpu__time_duration.sum';

/** Bytes a second that the memory moves when it only copies, and what matrix products reach in a short burst. */
const COPY_RATE = 4.17e12;
const PRODUCT_RATE = 790e12;

interface Work {
  readonly tokens: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
}

interface Class {
  readonly title: string;
  readonly pattern: RegExp;
  /** The seconds that a kernel should take: its bytes, read and written once, or its products, at the card's best rate. */
  readonly estimate?: (work: Work) => number;
}

const bytes = (count: number) => (2 * count) / COPY_RATE;

/** The classes of kernels. A name belongs to the first class that takes it. */
const CLASSES: readonly Class[] = [
  {
    title: 'matrix products',
    pattern: /gemm|cutlass|cublas|nvjet|splitK|xmma|wgmma/i,
    // Two forwards, and a backward of twice a forward.
    estimate: ({ tokens, hidden, intermediate, layers }) =>
      (4 * layers * 2 * tokens * hidden * (4 * hidden + 2 * intermediate)) / PRODUCT_RATE,
  },
  {
    title: 'attention forward',
    pattern: /attention.?forward|flash_fwd|fmha.*forward/i,
    // Queries, keys and values in, one row out, twice.
    estimate: ({ tokens, hidden, layers }) => bytes(2 * layers * 4 * tokens * hidden),
  },
  {
    title: 'attention backward',
    pattern: /attention.?backward|flash_bwd|fmha.*backward/i,
    // Queries, keys, values, output and its gradient in, three gradients out.
    estimate: ({ tokens, hidden, layers }) => bytes(layers * 8 * tokens * hidden),
  },
  {
    title: 'layer norm with dropout and residual',
    pattern: /norm/i,
    // Two a layer: 2 in and 1 out; the same and the sum out; gradient and sum in, 2 gradients and the output out.
    estimate: ({ tokens, hidden, layers }) => bytes(2 * layers * (3 + 4 + 5) * tokens * hidden),
  },
  {
    title: 'activation with bias',
    pattern: /activation|gelu/i,
    // In and out, twice; gradient and input in, gradient and output out.
    estimate: ({ tokens, intermediate, layers }) => bytes(layers * (2 + 2 + 4) * tokens * intermediate),
  },
  {
    title: 'column sums (bias gradients)',
    pattern: /column/i,
    estimate: ({ tokens, hidden, layers }) => bytes(layers * 3 * tokens * hidden),
  },
  { title: 'pooling', pattern: /pool/i },
  { title: 'embeddings and rows of tables', pattern: /embed|addPieces|addRuns|addRows|index|gather/i },
  { title: 'sorting of ids', pattern: /sort|radix|scan/i },
  { title: 'fills and copies', pattern: /fill|copy|memset|memcpy|cat/i },
];

interface Kernel {
  readonly name: string;
  readonly seconds: number;
}

/** Fields of a CSV line in which every field may be quoted. */
function fields(line: string): string[] {
  return [...line.matchAll(/("([^"]|"")*"|[^,]*)(,|$)/g)].map(([, field = '']) =>
    field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field,
  );
}

/** The seconds of each unit that ncu prints. */
function secondsIn(unit: string): number {
  const scale = ({ n: 1e-9, u: 1e-6, m: 1e-3, s: 1 } as Record<string, number>)[unit[0] ?? ''];
  if (scale === undefined) throw new Error(`ncu counted in ${unit}`);
  return scale;
}

/** Kernels between the last two marks. */
function kernels(csv: string): Kernel[] {
  const lines = csv.split('\n').filter((line) => line.startsWith('"') || line.startsWith('ID,'));
  const head = fields(lines[0] ?? '');
  const units = fields(lines[1] ?? '');
  const [name, time] = [head.indexOf('Kernel Name'), head.indexOf(TIME)];
  if (name < 0 || time < 0) throw new Error(`no kernels in what ncu wrote: ${csv.slice(0, 400)}`);
  const scale = secondsIn(units[time] ?? '');
  const all = lines.slice(2).map((line): Kernel => {
    const cells = fields(line);
    return { name: cells[name]!, seconds: Number(cells[time]!.replaceAll(',', '')) * scale };
  });
  const marks = all.flatMap((kernel, k) => (kernel.name.includes(MARK) ? [k] : []));
  if (marks.length < 2) throw new Error(`${marks.length} marks among ${all.length} kernels`);
  return all.slice(marks.at(-2)! + 1, marks.at(-1));
}

/** A kernel's name without its types and arguments. */
function shortName(name: string): string {
  return name
    .replaceAll(/\((anonymous namespace|unnamed)\)::|<unnamed>::/g, '')
    .replace(/[<(].*/s, '')
    .replace(/^void /, '')
    .slice(0, 70);
}

function groupBy(all: readonly Kernel[], key: (kernel: Kernel) => string): Map<string, Kernel[]> {
  const groups = new Map<string, Kernel[]>();
  for (const kernel of all) groups.set(key(kernel), [...(groups.get(key(kernel)) ?? []), kernel]);
  return new Map([...groups].sort(([, a], [, b]) => secondsOf(b) - secondsOf(a)));
}

const secondsOf = (group: readonly Kernel[]) => group.reduce((sum, { seconds }) => sum + seconds, 0);

const cells = (group: readonly Kernel[]) => [group.length, Number((1e3 * secondsOf(group)).toFixed(3))];

function report(csv: string): string {
  const all = kernels(csv);
  const shape = SHAPES[options.shape as ShapeName];
  const work = { ...shape, tokens: Number(options.tokens) };
  const classOf = ({ name }: Kernel) => CLASSES.find(({ pattern }) => pattern.test(name));
  const columns = ['calls', 'ms'];
  const classes = [...groupBy(all, (kernel) => classOf(kernel)?.title ?? 'other')].map(([title, group]) => {
    const estimate = CLASSES.find((known) => known.title === title)?.estimate?.(work);
    return [title, ...cells(group), estimate === undefined ? '' : Number((1e3 * estimate).toFixed(2))];
  });
  const names = [
    ...groupBy(all, (kernel) => `${classOf(kernel)?.title ?? 'other'} | ${shortName(kernel.name)}`),
  ].map(([name, group]) => [...name.split(' | '), ...cells(group)]);
  return [
    `One chunk of at most ${work.tokens.toLocaleString('en')} tokens, ${options.shape} shape, ${options.kind}, dropout 0.1: forward without ` +
      `graph, forward, backward. ${(1e3 * secondsOf(all)).toFixed(1)} ms of kernels. Each is timed by itself, at the clock of an unloaded card. ` +
      `The estimate is what a class must read and write once at ${COPY_RATE / 1e12} TB/s, or its products at ${PRODUCT_RATE / 1e12} TFLOP/s.`,
    table(['', ...columns, 'estimate ms'], classes),
    table(['', 'kernel', ...columns], names.slice(0, 30)),
  ].join('\n\n');
}

/** ncu on the PATH or where Nsight Compute installs it. */
function findProfiler(): string {
  const base = '/opt/nvidia/nsight-compute';
  const installed = existsSync(base) ? readdirSync(base).map((version) => join(base, version, 'ncu')) : [];
  return [...installed, '/usr/local/cuda/bin/ncu'].find((path) => existsSync(path)) ?? 'ncu';
}

function profile(): string {
  const log = join(tmpdir(), `gradcache-kernels-${process.pid}.csv`);
  const forwarded = ['--pass', '--shape', options.shape, '--kind', options.kind, '--tokens', options.tokens];
  const settings = ['--metrics', TIME, '--clock-control', 'none', '--cache-control', 'none'];
  const { status, stdout, stderr, error } = spawnSync(
    findProfiler(),
    [
      ...settings,
      '--csv',
      '--page',
      'raw',
      '--log-file',
      log,
      process.execPath,
      fileURLToPath(import.meta.url),
      ...forwarded,
    ],
    { encoding: 'utf8', timeout: 150_000, maxBuffer: 2 ** 26 },
  );
  if (status !== 0 || !existsSync(log)) {
    throw new Error(`ncu ended with ${status ?? error?.message}: ${(stdout + stderr).slice(-600)}`);
  }
  if (options.out) copyFileSync(log, options.out);
  return readFileSync(log, 'utf8');
}

async function main(): Promise<void> {
  if (options.pass) return passes();
  const body = report(options.csv === undefined ? profile() : readFileSync(options.csv, 'utf8'));
  console.log(body);
  if (options.write) {
    const { shape, kind, tokens, gpu = gpuName() } = options;
    writeResults(
      `Kernels of a chunk, ${shape}, ${kind}`,
      `npm run bench -- gpu-kernels --shape ${shape} --kind ${kind} --tokens ${tokens}`,
      body,
      `${new Date().toISOString().slice(0, 10)}, ${gpu}`,
    );
  }
}

await main();
