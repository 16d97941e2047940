/**
 * Where the time of one chunk goes: every kernel of a pass without a graph, then a pass forward and backward, of one
 * chunk on the GPU, as Nsight Compute times it.
 *
 *   npm run bench -- gpu-kernels [--shape base] [--kind uniform] [--tokens 32768] [--write]
 *   npm run bench -- gpu-kernels --csv FILE        the table from what ncu wrote
 *
 * Kernels are timed one at a time, so neither gaps between them nor the power cap of a card under load are in the figures.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { call, Tensor } from '../lib/index.js';
import { createEncoder, SHAPES, type ShapeName } from './gpu/models.js';
import { workload, type Kind } from './gpu/workload.js';
import { table, writeResults } from './support/results.js';

const { values: options } = parseArgs({
  options: {
    shape: { type: 'string', default: 'base' },
    kind: { type: 'string', default: 'uniform' },
    tokens: { type: 'string', default: '32768' },
    device: { type: 'string', default: 'cuda' },
    csv: { type: 'string' },
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

const CLASSES: readonly (readonly [string, RegExp])[] = [
  ['matrix products', /gemm|cutlass|cublas|nvjet|splitK|xmma|wgmma/i],
  ['attention forward', /attention.?forward|flash_fwd|fmha.*forward/i],
  ['attention backward', /attention.?backward|flash_bwd|fmha.*backward/i],
  ['layer norm with dropout and residual', /norm/i],
  ['activation with bias', /activation|gelu/i],
  ['column sums (bias gradients)', /column/i],
  ['embeddings and rows of tables', /embed|addPieces|addRuns|addRows|index/i],
  ['sorting of ids', /sort|radix|scan/i],
  ['fills and copies', /fill|copy|memset|memcpy|cat/i],
];

interface Line {
  calls: number;
  milliseconds: number;
}

/** Fields of a CSV line in which every field may be quoted. */
function fields(line: string): string[] {
  return [...line.matchAll(/("([^"]|"")*"|[^,]*)(,|$)/g)].map(([, field = '']) =>
    field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field,
  );
}

/** Kernels after the last mark but one. */
function kernels(csv: string): { name: string; milliseconds: number }[] {
  const lines = csv.split('\n').filter((line) => line.startsWith('"') || line.startsWith('ID,'));
  const head = fields(lines[0] ?? '');
  const [name, time] = [
    head.indexOf('Kernel Name'),
    head.findIndex((field) => field.startsWith('gpu__time_duration')),
  ];
  if (name < 0 || time < 0) throw new Error(`no kernels in what ncu wrote: ${csv.slice(0, 400)}`);
  const unit = fields(lines[1] ?? '')[time] ?? '';
  const scale = /^ms|msecond/.test(unit)
    ? 1
    : /^us|usecond/.test(unit)
      ? 1e-3
      : /^s$|^second/.test(unit)
        ? 1e3
        : 1e-6;
  const all = lines
    .slice(2)
    .map(fields)
    .map((cells) => ({
      name: cells[name] ?? '',
      milliseconds: Number((cells[time] ?? '').replaceAll(',', '')) * scale,
    }));
  const marks = all.flatMap((kernel, k) => (kernel.name.includes(MARK) ? [k] : []));
  if (marks.length < 2) throw new Error(`${marks.length} marks among ${all.length} kernels`);
  return all.slice(marks.at(-2)! + 1, marks.at(-1));
}

function report(csv: string): string {
  const [classes, names] = [new Map<string, Line>(), new Map<string, Line>()];
  let total = 0;
  for (const { name, milliseconds } of kernels(csv)) {
    const title = CLASSES.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other';
    const short = name
      .replace(/<.*/s, '')
      .replace(/\(.*/s, '')
      .replace(/^void /, '')
      .slice(0, 70);
    for (const [lines, key] of [
      [classes, title],
      [names, `${title} | ${short}`],
    ] as const) {
      const line = lines.get(key) ?? { calls: 0, milliseconds: 0 };
      line.calls++;
      line.milliseconds += milliseconds;
      lines.set(key, line);
    }
    total += milliseconds;
  }
  const rows = (lines: Map<string, Line>) =>
    [...lines]
      .sort((a, b) => b[1].milliseconds - a[1].milliseconds)
      .map(([key, line]) => [key, line.calls, Number(line.milliseconds.toFixed(3))]);
  const tokens = Number(options.tokens);
  return [
    `One chunk of at most ${tokens.toLocaleString('en')} tokens, ${options.shape} shape, ${options.kind}, dropout 0.1: forward without ` +
      `graph, forward, backward. ${total.toFixed(1)} ms of kernels. Each is timed by itself, at the clock of an unloaded card.`,
    table(['', 'calls', 'ms'], rows(classes)),
    table(
      ['', 'kernel', 'calls', 'ms'],
      rows(names)
        .slice(0, 30)
        .map(([key, ...rest]) => [...String(key).split(' | '), ...rest]),
    ),
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
  const settings = [
    '--metrics',
    'gpu__time_duration.sum',
    '--clock-control',
    'none',
    '--cache-control',
    'none',
  ];
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
  return readFileSync(log, 'utf8');
}

async function main(): Promise<void> {
  if (options.pass) return passes();
  const body = report(options.csv === undefined ? profile() : readFileSync(options.csv, 'utf8'));
  console.log(body);
  if (options.write) {
    writeResults(
      `Kernels of a chunk, ${options.shape}, ${options.kind}`,
      `npm run bench -- gpu-kernels ${process.argv.slice(2).join(' ')}`,
      body,
    );
  }
}

await main();
