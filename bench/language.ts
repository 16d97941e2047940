/**
 * Training steps of SRU++ language models on a GPU: this package, the published SRU++ in PyTorch, and a compiled Transformer of
 * as many parameters. Every step has the memory of the segment before, dropout, clipping and an update.
 *
 *   npm run bench -- language [--width 3072] [--projection 768] [--layers 10] [--length 1024] [--batches 4,8,32]
 *     [--peers srupp,transformer] [--write]
 *
 * The published SRU++ (`pip install sru`) is compiled when Python first imports it.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  AcrossSegments,
  AdamW,
  LanguageModel,
  memory,
  resetPeakMemory,
  synchronize,
  type Segment,
} from '../lib/index.js';
import { projectRoot } from '../test/oracle/python.js';
import { median } from './support/median.js';
import { gpuName, machine, table, writeResults } from './support/results.js';

const VOCABULARY = 205;
const DROPOUT = 0.22;
const STEPS = 5;

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    width: { type: 'string', default: '3072' },
    projection: { type: 'string', default: '768' },
    layers: { type: 'string', default: '10' },
    length: { type: 'string', default: '1024' },
    batches: { type: 'string', default: '4,8,32' },
    rounds: { type: 'string', default: '5' },
    peers: { type: 'string', default: 'srupp,transformer' },
    write: { type: 'boolean', default: false },
  },
});
const [width, projection, layers, length, rounds] = [
  options.width,
  options.projection,
  options.layers,
  options.length,
  options.rounds,
].map(Number) as [number, number, number, number, number];

interface Measured {
  readonly model: string;
  readonly parameters: number;
  readonly batch: number;
  readonly milliseconds: number;
  readonly tokensPerSecond: number;
  readonly peakMemory: number;
}

function segment(rows: number, start: number): Segment {
  const inputs = Int32Array.from({ length: rows * length }, (_, k) => (k * 7919 + start) % VOCABULARY);
  return { rows, inputs, targets: inputs.map((token) => (token + 1) % VOCABULARY), start };
}

async function ours(batch: number): Promise<Measured> {
  const model = LanguageModel.create(
    {
      vocabulary: VOCABULARY,
      cell: 'sru++',
      width,
      projected: projection,
      layers,
      dropout: DROPOUT,
      inputDropout: DROPOUT,
      attentionDropout: DROPOUT,
    },
    { device: options.device, precision: 'bfloat16' },
  );
  const training = new AcrossSegments(model, { across: 'none' });
  const optimizer = new AdamW(training.parameters(), { lr: 1e-5, maxGradNorm: 1 });
  let steps = 0;
  const update = async () => {
    await training.step(segment(batch, length * steps++));
    await optimizer.step();
  };
  for (let k = 0; k < STEPS; k++) await update();
  resetPeakMemory(options.device);
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const begin = performance.now();
    for (let k = 0; k < STEPS; k++) await update();
    await synchronize(options.device);
    times.push((performance.now() - begin) / STEPS);
  }
  const milliseconds = median(times);
  const { peak: peakMemory } = memory(options.device);
  const parameters = model.parameters().reduce((sum, { tensor }) => sum + tensor.size, 0);
  optimizer.dispose();
  training.dispose();
  model.dispose();
  return {
    model: 'gradcache',
    parameters,
    batch,
    milliseconds,
    tokensPerSecond: (1000 * batch * length) / milliseconds,
    peakMemory,
  };
}

/** Null, with a word on the terminal, where the peer does not run here. */
function peer(model: string, batch: number): Measured | null {
  const flags = { model, width, projection, layers, length, batch, vocabulary: VOCABULARY, repeats: rounds };
  const { stdout, stderr, status } = spawnSync(
    'python3',
    [
      join(projectRoot, 'bench', 'peers_language.py'),
      ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
    ],
    { encoding: 'utf8' },
  );
  if (status === 0) return JSON.parse(stdout.trim().split('\n').at(-1)!) as Measured;
  console.error(`${model} at batch ${batch} failed:\n${stderr.slice(-2000)}`);
  return null;
}

const rows: (string | number)[][] = [];
for (const batch of options.batches.split(',').map(Number)) {
  const measured = [await ours(batch), ...options.peers.split(',').map((name) => name && peer(name, batch))];
  for (const one of measured) {
    if (!one) continue;
    console.log(JSON.stringify(one));
    rows.push([
      one.batch,
      one.model,
      Math.round(one.parameters / 1e5) / 10,
      Math.round(one.milliseconds * 10) / 10,
      Math.round(one.tokensPerSecond),
      Math.round((one.peakMemory / 2 ** 30) * 100) / 100,
    ]);
  }
}
const body = table(['Batch', 'Model', 'Million parameters', 'Milliseconds', 'Tokens/s', 'GiB'], rows);
console.log(body);
if (options.write)
  writeResults(
    `Language models: width ${width}, projection ${projection}, ${layers} layers, segments of ${length}`,
    `npm run bench -- language --width ${width} --projection ${projection} --layers ${layers} --length ${length} --batches ${options.batches}`,
    body,
    `${new Date().toISOString().slice(0, 10)}, ${gpuName()}, ${machine()}`,
  );
