/**
 * Exact gradients across segments: peak memory and time as a step gets more of them, beside truncated training.
 *
 *   npm run bench -- segments [--write] [--device cpu] [--cell sru] [--width 512] [--layers 4] [--rows 16] [--length 64]
 *
 * Every line is a process of its own.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import {
  AcrossSegments,
  LanguageModel,
  memory,
  resetPeakMemory,
  synchronize,
  type Segment,
} from '../lib/index.js';
import { Random } from '../lib/data/random.js';
import { table, writeResults } from './support/results.js';

const MIB = 2 ** 20;
const COUNTS = [4, 16, 64];
/** The quickest counts. */
const RUNS = 3;
const METHODS = ['none', 'exact'] as const;
const VOCABULARY = 256;

interface Shape {
  readonly device: string;
  readonly cell: 'sru' | 'lstm' | 'gru' | 'qrnn' | 'sru++';
  readonly width: number;
  readonly layers: number;
  readonly rows: number;
  readonly length: number;
}

interface Run extends Shape {
  readonly across: 'none' | 'exact';
  readonly count: number;
}

interface Measured {
  /** Bytes: the most that were allocated in the timed steps; on the CPU of the process. */
  readonly peak: number;
  /** Milliseconds of a segment. */
  readonly milliseconds: number;
}

async function measure({ device, cell, width, layers, rows, length, across, count }: Run): Promise<Measured> {
  const random = new Random(1);
  const draw = () => Int32Array.from({ length: rows * length }, () => random.below(VOCABULARY));
  const segments: Segment[] = Array.from({ length: count }, () => ({
    rows,
    inputs: draw(),
    targets: draw(),
  }));
  const model = LanguageModel.create(
    { vocabulary: VOCABULARY, cell, width, layers, dropout: 0.1 },
    { device },
  );
  const training = new AcrossSegments(model, { across });
  // The allocator and libtorch's threads settle in a few steps of the same shapes.
  for (let warm = 0; warm < 3; warm++) await training.step(segments.slice(0, 4));
  await synchronize(device);
  resetPeakMemory(device);
  let milliseconds = Infinity;
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now();
    await training.step(segments);
    await synchronize(device);
    milliseconds = Math.min(milliseconds, (performance.now() - start) / count);
  }
  return { peak: memory(device).peak, milliseconds };
}

const { values } = parseArgs({
  options: {
    run: { type: 'string' },
    write: { type: 'boolean', default: false },
    device: { type: 'string', default: 'cpu' },
    cell: { type: 'string', default: 'sru' },
    width: { type: 'string', default: '512' },
    layers: { type: 'string', default: '4' },
    rows: { type: 'string', default: '16' },
    length: { type: 'string', default: '64' },
  },
});

async function main(): Promise<void> {
  if (values.run !== undefined) {
    console.log(JSON.stringify(await measure(JSON.parse(values.run) as Run)));
    return;
  }
  const shape: Shape = {
    device: values.device,
    cell: values.cell as Shape['cell'],
    width: Number(values.width),
    layers: Number(values.layers),
    rows: Number(values.rows),
    length: Number(values.length),
  };
  const program = fileURLToPath(import.meta.url);
  const one = (run: Run) =>
    JSON.parse(
      execFileSync(process.execPath, [program, '--run', JSON.stringify(run)], { encoding: 'utf8' }),
    ) as Measured;
  const lines = COUNTS.map((count) => {
    const [none, exact] = METHODS.map((across) => one({ ...shape, across, count })) as [Measured, Measured];
    return [
      count,
      ...[none, exact].flatMap(({ peak, milliseconds }) => [
        Number((peak / MIB).toFixed(1)),
        Number(milliseconds.toFixed(1)),
      ]),
      Number((exact.milliseconds / none.milliseconds).toFixed(2)),
    ];
  });
  const { cell, width, layers, rows, length } = shape;
  const body = [
    `${layers} layers of ${cell}, ${width} wide, ${rows} rows, segments of ${length} tokens, dropout 0.1, ${shape.device}. Exact ` +
      'gradients keep the graph of the last segment alone.',
    '',
    table(
      ['segments', 'truncated: peak MiB', 'ms a segment', 'exact: peak MiB', 'ms a segment', 'times'],
      lines,
    ),
  ].join('\n');
  console.log(body);
  if (values.write)
    writeResults(
      'Exact gradients across segments',
      `npm run bench -- segments ${process.argv.slice(2).join(' ')}`,
      body,
    );
}

await main();
