/**
 * The command line over large corpora: `gradcache embed` of millions of lines, and `gradcache mine` with a million documents.
 * How long each takes, and what the process holds in memory while it goes through them.
 *
 *   npm run bench -- corpus [--device cuda] [--lines 10000000] [--documents 1000000] [--pairs 100000] [--write]
 *
 * On a GPU the model has the shape of MiniLM, on a CPU it is static: a table of words. Weights are random, texts made up. On a machine
 * without npm: `node dist/bench/corpus.js`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { TextEncoder, Tokenizer } from '../lib/index.js';
import { projectRoot } from '../test/oracle/python.js';
import { bertTokenizer, sentences } from './encode/synthetic.js';
import { createEncoder, SHAPES } from './gpu/models.js';
import { gpuName, machine, table, writeResults } from './support/results.js';

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    lines: { type: 'string', default: '10000000' },
    documents: { type: 'string', default: '1000000' },
    pairs: { type: 'string', default: '100000' },
    write: { type: 'boolean', default: false },
  },
});
const { device } = options;
const onCpu = device === 'cpu';
const [lines, documents, pairs] = [options.lines, options.documents, options.pairs].map(Number) as [
  number,
  number,
  number,
];

/** Words of a line: short ones, of which an index has millions. */
const WORDS = 12;
/** Numbers of a word of the static model. */
const STATIC_WIDTH = 256;
/** Lines that are different but for their number. */
const DIFFERENT = 100_000;

const folder = mkdtempSync(join(tmpdir(), 'gradcache-corpus-'));
const at = (name: string) => join(folder, name);

/** Writes the model's folder. Returns lines for it. */
async function makeModel(): Promise<string[]> {
  const { json, words } = bertTokenizer(SHAPES.mini.vocabulary);
  writeFileSync(at('tokenizer.json'), json);
  const tokenizer = await Tokenizer.fromFile(at('tokenizer.json'), onCpu ? { specialTokens: false } : {});
  const encoder = onCpu
    ? TextEncoder.create(
        { model_type: 'static', vocab_size: SHAPES.mini.vocabulary, hidden_size: STATIC_WIDTH },
        tokenizer,
        { seed: 1 },
      )
    : await createEncoder(
        SHAPES.mini,
        { device: 'cpu', precision: 'float32', dropout: 0, seed: 1 },
        tokenizer,
      );
  await encoder.save(at('model'));
  encoder.dispose();
  return sentences(words, DIFFERENT).map((line) => line.split(' ').slice(0, WORDS).join(' '));
}

/** Writes a file of so many lines without holding it. */
async function writeLines(name: string, count: number, line: (k: number) => string): Promise<void> {
  const stream = createWriteStream(at(name));
  for (let first = 0; first < count; first += 10_000) {
    const block = Array.from({ length: Math.min(10_000, count - first) }, (_, k) => line(first + k));
    if (!stream.write(`${block.join('\n')}\n`)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'close');
}

interface Run {
  readonly seconds: number;
  /** MiB resident after a quarter, half and nearly all of the time, and at most. */
  readonly memory: readonly [number, number, number, number];
}

function resident(pid: number): number {
  try {
    const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return Number(kib ?? 0) / 1024;
  } catch {
    return 0; // it has ended
  }
}

/** Runs a command of gradcache. */
async function run(args: readonly string[]): Promise<Run> {
  const started = performance.now();
  const child = spawn(process.execPath, [join(projectRoot, 'dist/lib/cli/main.js'), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const seen = [resident(child.pid!)];
  const timer = setInterval(() => seen.push(resident(child.pid!)), 100);
  try {
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`gradcache ${args[0]} ended with ${code}`);
  } finally {
    clearInterval(timer);
  }
  const held = seen.filter((mib) => mib > 0);
  const after = (share: number) => Math.round(held[Math.floor(share * (held.length - 1))]!);
  const memory = [
    after(0.25),
    after(0.5),
    after(0.98),
    Math.round(held.reduce((most, mib) => Math.max(most, mib))),
  ] as const;
  return { seconds: (performance.now() - started) / 1000, memory };
}

const COLUMNS = ['command', 'seconds', 'a second', 'MiB at a quarter', 'at half', 'near the end', 'most'];

try {
  const texts = await makeModel();
  const precision = onCpu ? 'float32' : 'bfloat16';
  const model = ['--model', at('model'), '--device', device, '--precision', precision];
  const rows: (string | number)[][] = [];
  const measure = async (name: string, count: number, args: readonly string[]) => {
    const { seconds, memory } = await run([...args, ...model]);
    rows.push([name, Math.round(seconds), Math.round(count / seconds), ...memory]);
    console.log(rows.at(-1)!.join(' | '));
  };
  if (lines > 0) {
    await writeLines('lines.txt', lines, (k) => `${texts[k % DIFFERENT]} ${k}`);
    const size = (statSync(at('lines.txt')).size / 1e9).toFixed(2);
    const output = at('vectors.npy');
    await measure(`embed, ${lines.toLocaleString('en')} lines (${size} GB), float16`, lines, [
      ...['embed', '--input', at('lines.txt'), '--output', output, '--vector-type', 'float16'],
    ]);
    rmSync(output);
    rmSync(at('lines.txt'));
  }
  if (documents > 0) {
    await writeLines('corpus.txt', documents, (k) => `${texts[(k * 7919) % DIFFERENT]} ${k}`);
    await writeLines('pairs.jsonl', pairs, (k) =>
      JSON.stringify({
        anchor: `${texts[(k * 31) % DIFFERENT]} what ${k}`,
        positive: `${texts[(k * 31) % DIFFERENT]} that ${k}`,
      }),
    );
    await measure(
      `mine, ${pairs.toLocaleString('en')} anchors, ${(documents + pairs).toLocaleString('en')} documents, 3 negatives`,
      documents,
      ['mine', '--data', at('pairs.jsonl'), '--corpus', at('corpus.txt'), '--output', at('mined.jsonl')],
    );
  }
  const shape = onCpu
    ? `A static model, words of ${STATIC_WIDTH} numbers`
    : 'The shape of MiniLM (6 layers of 384)';
  const report =
    `${shape}, random weights, ${precision}; lines of ${WORDS} words and a number. Reading, tokenising and writing are ` +
    `included. Memory is what the process holds, the libraries of libtorch with it.\n\n` +
    table(COLUMNS, rows);
  console.log(`\n${report}`);
  if (options.write) {
    const command = `npm run bench -- corpus --device ${device} --lines ${lines} --documents ${documents} --pairs ${pairs} --write`;
    const place = onCpu ? undefined : `${new Date().toISOString().slice(0, 10)}, ${gpuName()}, ${machine()}`;
    writeResults(`Large corpora on a ${onCpu ? 'CPU' : 'GPU'}`, command, report, place);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
