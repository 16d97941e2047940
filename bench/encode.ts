/**
 * `encode` beside its peers: texts to vectors, tokenising included.
 *
 *   npm run bench -- encode [--device cuda] [--texts 65536] [--tiny] [--write]     BERT-base in bfloat16, made-up sentences
 *   npm run bench -- encode --device cpu [--texts 4096] [--threads 2] [--write]    MiniLM in float32, WordNet's glosses
 *
 * `--transformers-js FOLDER` names the folder of an installed @huggingface/transformers, which is then measured too. Every
 * row is the median of its runs, which follow one another. On a machine without npm: `node dist/bench/encode.js`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { exportOnnx, synchronize, TextEncoder } from '../lib/index.js';
import { locateLibtorch } from '../lib/addon/runtime/libtorch.js';
import { miniLM, oraclePackages, projectRoot } from '../test/oracle/python.js';
import { bertTokenizer, sentences } from './encode/synthetic.js';
import { LineProcess } from './gpu/line-process.js';
import { glosses } from './support/glosses.js';
import { median } from './support/median.js';
import { gpuName, table, writeResults } from './support/results.js';

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    texts: { type: 'string' },
    threads: { type: 'string' },
    rounds: { type: 'string', default: '2' },
    tiny: { type: 'boolean', default: false },
    'transformers-js': { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});
const { device, tiny } = options;
const onCpu = device === 'cpu' && !tiny;
const count = Number(options.texts ?? (tiny ? 256 : onCpu ? 4096 : 65_536));

/** Seconds of a run, and the first vectors, which say that all do the same. */
interface Run {
  readonly seconds: number;
  /** Seconds of all processors together, which a busy machine does not change much. */
  readonly processor: number | null;
  readonly vectors: readonly (readonly number[])[] | null;
}

interface Contender {
  readonly name: string;
  readonly setting: string;
  readonly ours: boolean;
  /** Gets ready, and encodes a few texts. */
  prepare(): Promise<void>;
  run(): Promise<Run>;
}

class Peers {
  readonly #process = new LineProcess(
    'python3',
    [join(projectRoot, 'bench', 'peers_encode.py'), '--device', device],
    pythonPath(),
  );
  versions: Readonly<Record<string, unknown>> = {};

  async ask<T>(request: object): Promise<T> {
    const answer = await this.#process.ask<T>(request, 300);
    if (typeof answer === 'object' && answer !== null && 'error' in answer)
      throw new Error(String(answer.error));
    return answer;
  }

  contender(folder: string, texts: string, batch: number, compile: boolean): Contender {
    return {
      name: `sentence-transformers${device === 'cpu' ? '' : ', unpadded'}${compile ? ', compiled' : ''}`,
      setting: `batches of ${batch.toLocaleString('en')}`,
      ours: false,
      prepare: async () => {
        this.versions = await this.ask({ do: 'open', folder, compile, texts });
        await this.ask({ do: 'encode', batch, first: Math.min(count, onCpu ? 128 : 2 * batch) });
      },
      run: () => this.ask({ do: 'encode', batch, first: count }),
    };
  }

  close(): void {
    this.#process.close();
  }
}

/** Packages that the oracle's tests installed, and the torch that the addon runs on, where they are. */
function pythonPath(): NodeJS.ProcessEnv {
  const threads = options.threads === undefined ? {} : { OMP_NUM_THREADS: options.threads };
  if (!existsSync(oraclePackages)) return threads;
  const torch = dirname(locateLibtorch().folder);
  return {
    ...threads,
    PYTHONPATH: [oraclePackages, torch, process.env.PYTHONPATH].filter(Boolean).join(delimiter),
  };
}

function ours(folder: string, texts: readonly string[], tokensPerChunk?: number): Contender {
  let encoder: TextEncoder | null = null;
  const encode = async (some: readonly string[]): Promise<Run> => {
    encoder ??= await TextEncoder.load(folder, { device, precision: onCpu ? 'float32' : 'bfloat16' });
    const before = processorSeconds();
    const start = performance.now();
    const tensor = await encoder.encode(some, tokensPerChunk === undefined ? {} : { tokensPerChunk });
    await synchronize(device);
    const seconds = (performance.now() - start) / 1000;
    const processor = processorSeconds() - before;
    const values = (await tensor.values()) as Float32Array;
    const width = encoder.dimension;
    tensor.dispose();
    const vectors = Array.from({ length: 8 }, (_, row) => [
      ...values.subarray(row * width, (row + 1) * width),
    ]);
    return { seconds, processor, vectors };
  };
  return {
    name: 'gradcache (this package)',
    setting: tokensPerChunk === undefined ? 'automatic' : `chunks of ${tokensPerChunk.toLocaleString('en')}`,
    ours: true,
    prepare: async () => void (await encode(texts.slice(0, onCpu ? 128 : 4096))),
    run: () => encode(texts),
  };
}

/** What a shell sees: the program's whole run, the model read and the vectors written. */
function program(folder: string, texts: string, output: string): Contender {
  return {
    name: '`gradcache embed`',
    setting: 'the whole program',
    ours: true,
    prepare: () => Promise.resolve(),
    run() {
      const main = join(projectRoot, 'dist', 'lib', 'cli', 'main.js');
      const model = ['--model', folder, '--device', device, '--precision', onCpu ? 'float32' : 'bfloat16'];
      const files = ['--input', texts, '--output', join(output, 'vectors.npy'), '--no-resume'];
      const start = performance.now();
      const { status, stderr } = spawnSync(process.execPath, [main, 'embed', ...model, ...files, '--json'], {
        encoding: 'utf8',
      });
      if (status !== 0) return Promise.reject(new Error(stderr.slice(-300)));
      return Promise.resolve({ seconds: (performance.now() - start) / 1000, processor: null, vectors: null });
    },
  };
}

/** What is used of @huggingface/transformers. */
interface TransformersJs {
  readonly env: { allowRemoteModels: boolean; localModelPath: string };
  pipeline(
    task: string,
    model: string,
    options: object,
  ): Promise<(texts: readonly string[], options: object) => Promise<{ tolist(): number[][] }>>;
}

async function transformersJs(
  installed: string,
  model: string,
  texts: readonly string[],
  sorted: boolean,
): Promise<Contender> {
  const entry = join(installed, 'dist', 'transformers.node.mjs');
  const library = (await import(pathToFileURL(entry).href)) as TransformersJs;
  const { env } = library;
  env.allowRemoteModels = false;
  env.localModelPath = dirname(model);
  const threads = options.threads === undefined ? {} : { intraOpNumThreads: Number(options.threads) };
  const embed = await library.pipeline('feature-extraction', model.slice(dirname(model).length + 1), {
    dtype: 'fp32',
    session_options: threads,
  });
  const size = 32;
  const order = texts.map((_, row) => row);
  if (sorted) order.sort((a, b) => texts[b]!.length - texts[a]!.length);
  const encode = async (rows: readonly number[]): Promise<Run> => {
    const before = processorSeconds();
    const start = performance.now();
    const vectors: number[][] = [];
    for (let begin = 0; begin < rows.length; begin += size) {
      const some = rows.slice(begin, begin + size);
      const out = await embed(
        some.map((row) => texts[row]!),
        { pooling: 'mean', normalize: true },
      );
      for (const [k, vector] of out.tolist().entries()) vectors[some[k]!] = vector;
    }
    const seconds = (performance.now() - start) / 1000;
    return { seconds, processor: processorSeconds() - before, vectors: vectors.slice(0, 8) };
  };
  return {
    name: `transformers.js${sorted ? ', texts given by length' : ''}`,
    setting: `batches of ${size}`,
    ours: false,
    prepare: async () => void (await encode(order.slice(0, 128))),
    run: () => encode(order),
  };
}

/** Where the model and the texts are. */
interface Task {
  readonly title: string;
  readonly folder: string;
  readonly texts: readonly string[];
}

async function taskOf(temporary: string, peers: Peers): Promise<Task> {
  if (onCpu)
    return { title: 'MiniLM-L6, WordNet glosses', folder: miniLM, texts: glosses(0).slice(0, count) };
  const folder = join(temporary, 'model');
  mkdirSync(folder);
  const { json, words } = bertTokenizer(30_522);
  await peers.ask({ do: 'make', folder, tiny });
  writeFileSync(join(folder, 'tokenizer.json'), json);
  const named = { tokenizer_class: 'PreTrainedTokenizerFast', model_max_length: 512, pad_token: '[PAD]' };
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(named));
  return { title: 'BERT-base, made-up sentences', folder, texts: sentences(words, count) };
}

function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** The least cosine of the first vectors of two. */
function agreement(a: Run['vectors'], b: Run['vectors']): string {
  if (a === null || b === null) return '';
  const cosines = a.map((vector, row) => {
    const other = b[row]!;
    let [dot, one, two] = [0, 0, 0];
    for (const [k, x] of vector.entries())
      [dot, one, two] = [dot + x * other[k]!, one + x * x, two + other[k]! ** 2];
    return dot / Math.sqrt(one * two);
  });
  return Math.min(...cosines).toFixed(5);
}

async function measure(contenders: readonly Contender[], tokens: number): Promise<string> {
  const rounds = tiny ? 1 : Number(options.rounds);
  const rows: (string | number)[][] = [];
  let reference: Run['vectors'] = null;
  const results = new Map<Contender, number>();
  for (const contender of contenders) {
    try {
      await contender.prepare();
      const seconds: number[] = [];
      const processor: number[] = [];
      let last: Run | null = null;
      for (let round = 0; round < rounds; round++) {
        last = await contender.run();
        seconds.push(last.seconds);
        if (last.processor !== null) processor.push(last.processor);
      }
      reference ??= last!.vectors;
      results.set(contender, median(seconds));
      rows.push([
        ...[contender.name, contender.setting, median(seconds).toFixed(2)],
        processor.length === 0 ? '' : median(processor).toFixed(2),
        ...[
          `${Math.round(tokens / median(seconds)).toLocaleString('en')}`,
          agreement(reference, last!.vectors),
        ],
      ]);
    } catch (error) {
      rows.push([contender.name, contender.setting, (error as Error).message.slice(0, 120), '', '', '']);
    }
    process.stderr.write(`${rows.at(-1)!.join(' | ')}\n`);
  }
  const best = (mine: boolean) =>
    Math.min(...[...results].filter(([{ ours }]) => ours === mine).map(([, seconds]) => seconds));
  return [
    table(['', 'setting', 'seconds', 'of all processors', 'tokens/s', 'cosine with the first row'], rows),
    '',
    `Ours is ${(best(false) / best(true)).toFixed(2)} times as fast as the best rival.`,
  ].join('\n');
}

async function main(): Promise<void> {
  const temporary = mkdtempSync(join(tmpdir(), 'gradcache-bench-'));
  const peers = new Peers();
  try {
    const { title, folder, texts } = await taskOf(temporary, peers);
    const file = join(temporary, 'texts.txt');
    writeFileSync(file, texts.join('\n'));
    const contenders: Contender[] = [ours(folder, texts)];
    const batches = onCpu ? [32, 128] : [1024, 4096];
    if (!onCpu) contenders.push(ours(folder, texts, 131_072));
    for (const batch of batches) contenders.push(peers.contender(folder, file, batch, false));
    if (!onCpu && !tiny) contenders.push(peers.contender(folder, file, 1024, true));
    const installed = options['transformers-js'];
    if (installed !== undefined) {
      const model = join(temporary, 'onnx-model');
      await exportOnnx(folder, model);
      for (const sorted of [false, true])
        contenders.push(await transformersJs(installed, model, texts, sorted));
    }
    contenders.push(program(folder, file, temporary));
    const encoder = await TextEncoder.load(folder);
    const started = performance.now();
    const tokens = (await encoder.tokenize(texts)).ids.length;
    const tokenising = (performance.now() - started) / 1000;
    encoder.dispose();
    const body = [
      `${title}: ${count.toLocaleString('en')} texts, ${tokens.toLocaleString('en')} tokens, tokenising included ` +
        `(which takes ours ${tokenising.toFixed(2)} s by itself).`,
      '',
      await measure(contenders, tokens),
      '',
      Object.entries(peers.versions)
        .map(([name, version]) => `${name} ${String(version)}`)
        .join(', ') + '.',
    ].join('\n');
    console.log(body);
    if (options.write) {
      const command = `npm run bench -- encode ${process.argv.slice(2).join(' ')}`.trim();
      const place = onCpu ? undefined : `${new Date().toISOString().slice(0, 10)}, ${gpuName()}`;
      writeResults(`Texts to vectors on ${onCpu ? 'the CPU' : 'a GPU'}`, command, body, place);
    }
  } finally {
    peers.close();
    rmSync(temporary, { recursive: true, force: true });
  }
}

await main();
