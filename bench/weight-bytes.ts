/**
 * Memory that stays taken between the steps of a training, in bytes a weight of the model.
 *
 *   npm run bench -- weight-bytes [--device cuda] [--write]
 *
 * Every way of training runs in a process of its own. On the CPU memory is the resident size of the process, in which what a GPU would
 * hold and what the host holds are together; on a GPU it is what libtorch has allocated there.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import {
  AdamW,
  GradCache,
  infoNCE,
  memory,
  synchronize,
  TextEncoder,
  type CreateOptions,
  type LoadOptions,
  type MasterWeights,
  type TokenBatch,
} from '../lib/index.js';
import { smallTokenizer } from '../test/exactness/small-tokenizer.js';
import { table, writeResults } from './support/results.js';

const VOCABULARY = 262_144;
const WIDTH = 256;
const STEPS = 4;
const TEXTS = 64;
const LENGTH = 16;
const program = fileURLToPath(import.meta.url);

const create = async (vocabulary: number, options: CreateOptions = {}): Promise<TextEncoder> => {
  const config = {
    ...{ model_type: 'bert', vocab_size: vocabulary, hidden_size: WIDTH, max_position_embeddings: 64 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 4 * WIDTH },
  };
  return TextEncoder.create(config, await smallTokenizer(2), options);
};

type Way = CreateOptions & Pick<LoadOptions, 'lora'> & { readonly masterWeights?: MasterWeights };

const WAYS: Readonly<Record<string, Way>> = {
  'all weights': {},
  "embeddingGradients: 'rows'": { embeddingGradients: 'rows' },
  'frozen embeddings': { frozen: ['embeddings'] },
  'LoRA of rank 8': { lora: { rank: 8 } },
  "masterWeights: 'host'": { weights: 'bfloat16', masterWeights: 'host' },
  "masterWeights: 'none'": { weights: 'bfloat16', masterWeights: 'none' },
  "masterWeights: 'none', embeddingGradients: 'rows'": {
    ...{ weights: 'bfloat16', masterWeights: 'none', embeddingGradients: 'rows' },
  },
};

/** Other words in each step. */
function batchOf(step: number, vocabulary: number): TokenBatch {
  const ids = Int32Array.from(
    { length: TEXTS * LENGTH },
    (_, k) => 1 + ((k * 7919 + step * 104_729) % (vocabulary - 1)),
  );
  return { ids, offsets: Int32Array.from({ length: TEXTS + 1 }, (_, k) => k * LENGTH), truncated: 0 };
}

/** Trains, and keeps what a training keeps. */
async function trained(folder: string, vocabulary: number, way: string, how: object): Promise<unknown> {
  const { masterWeights, lora, ...options } = WAYS[way]!;
  // An encoder that is loaded whole also keeps the weights as they were read, in the memory of the host.
  const encoder =
    lora === undefined
      ? await create(vocabulary, { ...options, ...how })
      : await TextEncoder.load(folder, { lora, ...how });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE(),
    chunk: { sequences: 16 },
  });
  const optimizer = new AdamW(encoder.parameters(), { lr: 1e-4, masterWeights });
  for (let step = 0; step < STEPS; step++) {
    const batch = batchOf(step, vocabulary);
    await gradcache.step([batch, batch]);
    await optimizer.step();
  }
  return [encoder, gradcache, optimizer];
}

async function taken(device: string): Promise<number> {
  await synchronize(device);
  for (let k = 0; k < 3; k++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise(setImmediate);
  }
  return memory(device).allocated;
}

async function measure(folder: string, way: string, precision: string, device: string): Promise<number> {
  const how = { precision, device };
  // What the first training takes for good, whatever its model is.
  const small = await trained(join(folder, 'small'), 1000, way, how);
  const before = await taken(device);
  const large = await trained(join(folder, 'large'), VOCABULARY, way, how);
  const bytes = (await taken(device)) - before;
  void [small, large];
  return bytes;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      measure: { type: 'string', multiple: true },
      device: { type: 'string', default: 'cpu' },
      write: { type: 'boolean', default: false },
    },
  });
  if (values.measure !== undefined) {
    const [folder, way, precision] = values.measure as [string, string, string];
    console.log(await measure(folder, way, precision, values.device));
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-weight-bytes-'));
  try {
    let weights = 0;
    for (const [name, vocabulary] of [
      ['small', 1000],
      ['large', VOCABULARY],
    ] as const) {
      using encoder = await create(vocabulary);
      weights = encoder.parameters().reduce((sum, { tensor }) => sum + tensor.size, 0);
      await encoder.save(join(folder, name));
    }
    const bytesOf = (way: string, precision: string): number => {
      const args = [folder, way, precision].flatMap((each) => ['--measure', each]);
      const options = ['--expose-gc', program, ...args, '--device', values.device];
      const bytes = Number(execFileSync(process.execPath, options, { encoding: 'utf8' })) / weights;
      process.stderr.write(`${way}, ${precision}: ${bytes.toFixed(2)}\n`);
      return Number(bytes.toFixed(1));
    };
    const rows = Object.entries(WAYS).map(([way, { weights: narrow }]) => [
      way,
      narrow === undefined ? bytesOf(way, 'float32') : '',
      bytesOf(way, 'bfloat16'),
    ]);
    const body = [
      `Bytes a weight of a BERT of ${weights.toLocaleString('en')} weights, ${((100 * VOCABULARY * WIDTH) / weights).toFixed(0)} % of ` +
        `them in a table of ${VOCABULARY.toLocaleString('en')} words, after ${STEPS} updates by AdamW on ${values.device}: weights, gradients, moments, copies.`,
      '',
      table(['what is trained', 'float32', 'bfloat16'], rows),
    ].join('\n');
    console.log(body);
    if (values.write)
      writeResults(
        'Bytes a weight',
        `npm run bench -- weight-bytes ${process.argv.slice(2).join(' ')}`,
        body,
      );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await main();
