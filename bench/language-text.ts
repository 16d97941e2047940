/**
 * Language models of a text: held-out bits per character after the same number of updates. One table compares LSTM, SRU and SRU++
 * of as many parameters, the other where the gradient across segments comes from.
 *
 *   npm run bench -- language-text [--text FILE] [--write] [--device cpu] [--workers 1] [--steps 2000] [--seeds 3]
 *     [--tables cells,gradients] [--methods truncated,synthetic,alternating,exact] [--lr 0.001,0.003]
 *
 * Without a file the text is WordNet's glosses. Its last tenth is held out. Every run is a process of its own; `--device` takes
 * several devices, which the runs share.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { threads, trainLanguage, type AcrossConfig, type LanguageTrainConfig } from '../lib/index.js';
import { glosses } from './support/glosses.js';
import { gpuName, machine, table, writeResults } from './support/results.js';

const ROWS = 32;
const DROPOUT = 0.1;
/** Tokens of a segment in the table of cells. */
const CELL_SEGMENT = 128;
/** Tokens of a segment in the table of gradients, and the segments of an update there. */
const LENGTHS = [8, 32];
const COUNT = 4;
/** The learning rate of the table of gradients. */
const GRADIENT_LR = 0.003;

/** A million parameters in the layers of each, with the words of a small alphabet. */
const CELLS = {
  lstm: { cell: 'lstm', layers: 2, width: 256 },
  sru: { cell: 'sru', layers: 4, width: 296 },
  'sru++': { cell: 'sru++', layers: 4, width: 480, projected: 120 },
} as const;
type CellName = keyof typeof CELLS;

const program = fileURLToPath(import.meta.url);

const { values } = parseArgs({
  options: {
    run: { type: 'string' },
    text: { type: 'string' },
    write: { type: 'boolean', default: false },
    device: { type: 'string', default: 'cpu' },
    workers: { type: 'string', default: '1' },
    steps: { type: 'string', default: '2000' },
    seeds: { type: 'string', default: '3' },
    tables: { type: 'string', default: 'cells,gradients' },
    methods: { type: 'string', default: 'truncated,synthetic,alternating,exact' },
    lr: { type: 'string', default: '0.001,0.003' },
  },
});

interface Run {
  /** What the table calls it. */
  readonly name: string;
  readonly cell: CellName;
  readonly across: AcrossConfig;
  readonly length: number;
  readonly count: number;
  readonly lr: number;
  readonly seed: number;
}

interface Outcome {
  readonly bits: number;
  readonly parameters: number;
  readonly seconds: number;
}

/** One run, by the function that the command line calls. */
async function train(run: Run, folder: string, device: string, steps: number): Promise<Outcome> {
  threads(1);
  let parameters = 0;
  const begin = performance.now();
  const config: LanguageTrainConfig = {
    model: { ...CELLS[run.cell], dropout: DROPOUT, inputDropout: DROPOUT, outputDropout: DROPOUT },
    data: join(folder, 'train.txt'),
    vocabulary: 'characters',
    output: mkdtempSync(join(folder, 'run-')),
    rows: ROWS,
    segment: { length: run.length, count: run.count },
    across: run.across,
    optimizer: { kind: 'adamw', lr: run.lr, weightDecay: 0.01, maxGradNorm: 1 },
    steps,
    seed: run.seed,
    device,
    evaluation: { data: join(folder, 'held-out.txt') },
  };
  const { scores } = await trainLanguage(config, {
    onEvent: (event) => {
      if (event.type === 'start') parameters = event.parameters;
    },
  });
  return { bits: scores!['bitsPerCharacter']!, parameters, seconds: (performance.now() - begin) / 1000 };
}

async function inOwnProcess(run: Run, folder: string, device: string): Promise<Outcome> {
  const child = spawn(
    process.execPath,
    [program, '--run', JSON.stringify({ run, folder, device, steps: Number(values.steps) })],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, OMP_NUM_THREADS: '1' } },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`${JSON.stringify(run)} failed`);
  return JSON.parse(output.trim().split('\n').at(-1)!) as Outcome;
}

const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed + 1);
const rates = values.lr.split(',').map(Number);

function cellRuns(): Run[] {
  return (Object.keys(CELLS) as CellName[]).flatMap((cell) =>
    rates.flatMap((lr) =>
      seeds.map((seed) => ({
        name: cell,
        cell,
        across: { kind: 'none' } as const,
        length: CELL_SEGMENT,
        count: 1,
        lr,
        seed,
      })),
    ),
  );
}

function gradientRuns(): Run[] {
  // Four cycles of real and predicted gradients, each as long as all before it.
  const first = Math.max(1, Math.round(Number(values.steps) / 8));
  const methods: Readonly<Record<string, AcrossConfig>> = {
    truncated: { kind: 'none' },
    synthetic: { kind: 'synthetic' },
    alternating: { kind: 'alternating', first },
    exact: { kind: 'exact' },
  };
  const wanted = values.methods.split(',');
  return Object.entries(methods)
    .filter(([name]) => wanted.includes(name))
    .flatMap(([name, across]) =>
      LENGTHS.flatMap((length) =>
        seeds.map((seed) => ({
          name,
          cell: 'lstm' as const,
          across,
          length,
          count: COUNT,
          lr: GRADIENT_LR,
          seed,
        })),
      ),
    );
}

const mean = (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
const shown = (outcomes: readonly Outcome[]) =>
  `${mean(outcomes.map(({ bits }) => bits)).toFixed(3)} (${outcomes.map(({ bits }) => bits.toFixed(3)).join(', ')})`;

type Of = (matches: (run: Run) => boolean) => Outcome[];

function cellTable(of: Of): string {
  const lines = (Object.keys(CELLS) as CellName[]).map((cell) => {
    const { layers, width } = CELLS[cell];
    return [
      `${cell}, ${layers} layers of ${width}`,
      of((run) => run.cell === cell)[0]!.parameters,
      ...rates.map((lr) => shown(of((run) => run.cell === cell && run.lr === lr))),
    ];
  });
  return table(['cell', 'parameters', ...rates.map((lr) => `learning rate ${lr}`)], lines);
}

function gradientTable(of: Of, runs: readonly Run[]): string {
  const lines = [...new Set(runs.map(({ name }) => name))].map((name) => [
    name,
    ...LENGTHS.map((length) => shown(of((run) => run.name === name && run.length === length))),
  ]);
  return table(['gradients', ...LENGTHS.map((length) => `segments of ${length}`)], lines);
}

/** The text in two files of a new folder. Returns it with what the text is. */
function splitText(): { readonly folder: string; readonly about: string } {
  const text = values.text === undefined ? glosses(0).join('\n') : readFileSync(values.text, 'utf8');
  const cut = Math.floor(text.length * 0.9);
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-text-'));
  writeFileSync(join(folder, 'train.txt'), text.slice(0, cut));
  writeFileSync(join(folder, 'held-out.txt'), text.slice(cut));
  const name = values.text === undefined ? "WordNet's glosses" : basename(values.text);
  return { folder, about: `${name}: ${cut} characters to learn, ${text.length - cut} held out` };
}

async function runAll(runs: readonly Run[], folder: string): Promise<Map<Run, Outcome>> {
  const devices = values.device.split(',');
  const outcomes = new Map<Run, Outcome>();
  const left = [...runs];
  const worker = async (_: unknown, number: number) => {
    for (let run; (run = left.shift()) !== undefined;) {
      const outcome = await inOwnProcess(run, folder, devices[number % devices.length]!);
      outcomes.set(run, outcome);
      process.stderr.write(`${JSON.stringify(run)} ${JSON.stringify(outcome)}\n`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(Number(values.workers), runs.length) }, worker));
  return outcomes;
}

async function main(): Promise<void> {
  if (values.run !== undefined) {
    const { run, folder, device, steps } = JSON.parse(values.run) as {
      run: Run;
      folder: string;
      device: string;
      steps: number;
    };
    console.log(JSON.stringify(await train(run, folder, device, steps)));
    return;
  }
  const { folder, about } = splitText();
  try {
    const wanted = values.tables.split(',');
    const cells = wanted.includes('cells') ? cellRuns() : [];
    const gradients = wanted.includes('gradients') ? gradientRuns() : [];
    const outcomes = await runAll([...cells, ...gradients], folder);
    const among =
      (runs: readonly Run[]): Of =>
      (matches) =>
        runs.filter(matches).map((run) => outcomes.get(run)!);
    const body = [
      `${about}. Bits per held-out character after ${values.steps} updates of ${ROWS} rows, AdamW, cosine schedule, dropout ` +
        `${DROPOUT}: mean, and each seed.`,
      ...(cells.length > 0
        ? [`Truncated gradients, segments of ${CELL_SEGMENT} tokens:`, cellTable(among(cells))]
        : []),
      ...(gradients.length > 0
        ? [
            `The LSTM, ${COUNT} segments an update, learning rate ${GRADIENT_LR}:`,
            gradientTable(among(gradients), gradients),
          ]
        : []),
    ].join('\n\n');
    console.log(body);
    const hardware = values.device.startsWith('cuda') ? `${gpuName()}, ${machine()}` : machine();
    if (values.write)
      writeResults(
        'Language models of a text',
        `npm run bench -- language-text ${process.argv.slice(2).join(' ')}`,
        body,
        `${new Date().toISOString().slice(0, 10)}, ${hardware}`,
      );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await main();
