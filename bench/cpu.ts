/**
 * The cached step on the CPU beside its peers: the same weights, texts, loss, dropout and optimizer on the same machine
 * in the same run, one step of each in turn, so that a busy minute hits all of them.
 *
 *   npm run bench -- cpu [--pairs 128] [--rounds 3] [--quick] [--write]
 *
 * `--quick` runs two settings of each alone.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { AdamW, GradCache, TextEncoder, infoNCE, type FixedChunkSize, type Retain } from '../lib/index.js';
import { miniLM, PythonServer } from '../test/oracle/python.js';
import { glosses } from './support/glosses.js';
import { median } from './support/median.js';
import { table, writeResults } from './support/results.js';

interface Contender {
  readonly name: string;
  readonly setting: string;
  readonly ours: boolean;
  /** One training step; returns its seconds. */
  step(): Promise<number>;
}

interface Workload {
  readonly title: string;
  readonly columns: [string[], string[]];
}

interface PeerSetting {
  readonly peer: string;
  readonly sequences?: number;
  readonly tokens?: number;
}

interface Loaded {
  readonly tokens: number;
  readonly padded: number;
  readonly threads: number;
  readonly torch: string;
  readonly transformers: string;
  readonly sentenceTransformers: string;
  readonly python: string;
}

const MAX_LENGTH = 128;

function workloads(pairs: number): Workload[] {
  const texts = glosses(0);
  const equal = equalLengthTexts(2 * pairs, 32);
  return [
    {
      title: 'Natural length: WordNet glosses',
      columns: [texts.slice(0, pairs), texts.slice(pairs, 2 * pairs)],
    },
    { title: 'Equal length: 32 tokens', columns: [equal.slice(0, pairs), equal.slice(pairs)] },
  ];
}

/** Texts of exactly `tokens` tokens: each word is one wordpiece, two places go to [CLS] and [SEP]. */
function equalLengthTexts(count: number, tokens: number): string[] {
  const words =
    'water house river stone light small large green black white world people music story paper garden'.split(
      ' ',
    );
  return Array.from({ length: count }, (_, row) =>
    Array.from({ length: tokens - 2 }, (_, k) => words[(row * 31 + k * k * 7 + k * row) % words.length]).join(
      ' ',
    ),
  );
}

function peerSettings(): PeerSetting[] {
  const sentenceTransformers = 'sentence-transformers';
  const settings: PeerSetting[] = [8, 16, 32, 64, 128].map((sequences) => ({
    peer: sentenceTransformers,
    sequences,
  }));
  settings.push(...[256, 512, 1024, 2048].map((tokens) => ({ peer: sentenceTransformers, tokens })));
  settings.push(...[16, 32].map((sequences) => ({ peer: `${sentenceTransformers}-sorted`, sequences })));
  if (process.env.GRAD_CACHE_SRC)
    settings.push(...[8, 16, 32].map((sequences) => ({ peer: 'GradCache', sequences })));
  return settings;
}

interface OurSetting {
  readonly chunk: FixedChunkSize;
  readonly retain?: Retain;
}

const ourSettings: OurSetting[] = [
  { chunk: { sequences: 8 } },
  { chunk: { sequences: 32 } },
  { chunk: { sequences: 128 } },
  { chunk: { tokens: 512 } },
  { chunk: { tokens: 1024 } },
  { chunk: { tokens: 2048 } },
  { chunk: { tokens: 4096 } },
  { chunk: { tokens: 2048 }, retain: { bytes: 2 ** 30 } },
];

class Peers {
  readonly #server = new PythonServer('bench/peers_cpu.py');

  async ask<T>(request: object): Promise<T> {
    const answer = (await this.#server.ask(request)) as T & { error?: string };
    if (answer.error !== undefined)
      throw new Error(`${JSON.stringify(request).slice(0, 200)}: ${answer.error}`);
    return answer;
  }

  contender(setting: PeerSetting): Contender {
    return {
      name: setting.peer,
      setting: describe(setting),
      ours: false,
      step: async () => (await this.ask<{ seconds: number }>({ do: 'step', ...setting })).seconds,
    };
  }

  close(): void {
    this.#server.close();
  }
}

function describe({ sequences, tokens }: { sequences?: number; tokens?: number }): string {
  return tokens === undefined ? `${sequences} sequences` : `${tokens} tokens`;
}

async function ourContenders(folder: string, columns: readonly string[][]): Promise<Contender[]> {
  const model = await TextEncoder.load(folder, { maxLength: MAX_LENGTH });
  const optimizer = new AdamW(model.parameters(), { lr: 2e-5 });
  const inputs = await Promise.all(columns.map((texts) => model.tokenize(texts)));
  return ourSettings.map(({ chunk, retain }) => {
    const loss = infoNCE({ temperature: 0.05 });
    const gradcache = new GradCache({ encoders: [model, model], loss, chunk, retain });
    return {
      name: 'gradcache',
      setting: `${describe(chunk)}${retain === undefined ? '' : ', 1 GiB for graphs'}`,
      ours: true,
      async step() {
        const start = performance.now();
        await gradcache.step(inputs);
        await optimizer.step();
        return (performance.now() - start) / 1000;
      },
    };
  });
}

async function measure(
  workload: Workload,
  peers: Peers,
  folder: string,
  { rounds, quick }: { rounds: number; quick: boolean },
): Promise<string> {
  const loaded = await peers.ask<Loaded>({
    do: 'load',
    folder,
    columns: workload.columns,
    max_length: MAX_LENGTH,
  });
  const ours = await ourContenders(folder, workload.columns);
  const theirs = peerSettings().map((setting) => peers.contender(setting));
  const contenders = [...theirs, ...ours].filter(({ ours: own, setting }) =>
    quick ? (own ? ['1024 tokens', '2048 tokens'] : ['8 sequences', '16 sequences']).includes(setting) : true,
  );
  const seconds = new Map<Contender, number[]>(contenders.map((contender) => [contender, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const contender of contenders) {
      const taken = await contender.step();
      // The first round warms up.
      if (round > 0) seconds.get(contender)!.push(taken);
    }
    process.stderr.write(`${workload.title}: round ${round} of ${rounds} done\n`);
  }
  const rate = (contender: Contender) => loaded.tokens / median(seconds.get(contender)!);
  const fair = contenders.filter(({ ours, name }) => !ours && !name.endsWith('sorted'));
  const best = Math.max(...fair.map(rate));
  const rows = contenders.map((contender) => {
    const all = seconds.get(contender)!;
    const [low, high] = [loaded.tokens / Math.max(...all), loaded.tokens / Math.min(...all)];
    return [
      contender.name,
      contender.setting,
      Math.round(rate(contender)),
      `${Math.round(low)} – ${Math.round(high)}`,
      Number((rate(contender) / best).toFixed(2)),
    ];
  });
  const pairs = workload.columns[0].length;
  return [
    `### ${workload.title}`,
    '',
    `${pairs} pairs, ${loaded.tokens} tokens (${loaded.padded} when padded to the longest text), median of ${rounds} ` +
      `interleaved steps. ${loaded.threads} threads, torch ${loaded.torch}, transformers ${loaded.transformers}, ` +
      `sentence-transformers ${loaded.sentenceTransformers}, Python ${loaded.python}.`,
    '',
    table(['', 'chunk', 'tokens/s', 'slowest – fastest', 'of the best peer'], rows),
    '',
  ].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      pairs: { type: 'string', default: '128' },
      rounds: { type: 'string', default: '3' },
      quick: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const [pairs, rounds] = [Number(values.pairs), Number(values.rounds)];
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-bench-'));
  const peers = new Peers();
  try {
    const model = join(folder, 'model');
    await peers.ask({ do: 'save', folder: model, tokenizer: miniLM });
    const parts = [
      'MiniLM-L6 shape (6 layers of 384), random weights, float32, dropout 0.1 on hidden states and attention, mean ' +
        'pooling, cosine InfoNCE with temperature 0.05, fused AdamW. Tokens are real ones, padding does not count; ' +
        'tokenization is not timed. `sentence-transformers-sorted` is fed texts in order of length, which it does not do by itself.',
    ];
    for (const workload of workloads(pairs))
      parts.push(await measure(workload, peers, model, { rounds, quick: values.quick }));
    const body = parts.join('\n\n');
    console.log(body);
    if (values.write)
      writeResults('CPU', `npm run bench -- cpu --pairs ${pairs} --rounds ${rounds} --write`, body);
  } finally {
    peers.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
