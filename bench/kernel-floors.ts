/**
 * Every CUDA kernel of the package by itself, beside the time that its bytes take at the memory's rate. The table shows what
 * test/cuda/{row_times,attention}.py print.
 *
 *   npm run bench -- kernel-floors [--tokens 32768] [--write]
 *   npm run bench -- kernel-floors --log FILE … --gpu NAME [--write]      the table from what an earlier run printed
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { projectRoot } from '../test/oracle/python.js';
import { gpuName, table, writeResults } from './support/results.js';

const PROGRAMS = ['test/cuda/row_times.py', 'test/cuda/attention.py'];

/** "BERT-base T=32768 gelu forward   402.7 MB  floor 0.0966  measured 0.1100 ms   3.66 TB/s  1.14x" */
const LINE =
  /^(?<shape>\S+) T=(?<tokens>\d+) (?<kernel>.+?) +(?<megabytes>[\d.]+) MB +floor (?<floor>[\d.]+) +measured (?<milliseconds>[\d.]+) ms +(?<rate>[\d.]+) TB\/s/;

/** "all 32                 12x64 p=0.1 bwd |  0.1186 |  402.7 |  3.40 | 0.0966 | 0.0966 |  1.2085 | 10.19" */
const ATTENTION_LINE =
  /^(?<lengths>.+?) +(?<heads>[\d/]+x[\d+-]+) p=(?<dropout>[\d.]+) *(?<pass>fwd|bwd) \| +(?<milliseconds>[\d.]+) \| +(?<megabytes>[\d.]+) \| +[\d.]+ \| +(?<floor>[\d.]+) \| +[\d.]+ \| +(?<flash>[\d.]+) \|/;

const ATTENTION_TEXT =
  "Attention of a layer over the same number of tokens, beside flash attention (libtorch's `_flash_attention_forward` and " +
  '`_backward` with `cu_seqlens`, whose gradients are joined as the next product takes them). "Sorted" lengths are those of ' +
  'one chunk out of 8,192 texts in order of length. Heads are those of queries / of keys x their size; -64+64: a query sees ' +
  'the keys up to 64 places before and behind, +0: none behind.';
const ATTENTION_COLUMNS = [
  'lengths',
  'heads',
  'dropout',
  'pass',
  'MB',
  'floor ms',
  'measured ms',
  'of the floor',
  'flash ms',
  'flash / ours',
];

/** How many tokens test/cuda/attention.py takes. */
const ATTENTION_TOKENS = '32768';

const { values: options } = parseArgs({
  options: {
    tokens: { type: 'string', default: '32768' },
    log: { type: 'string', multiple: true },
    gpu: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});

function run(program: string): string {
  const { status, stdout, stderr } = spawnSync('python3', [join(projectRoot, program)], {
    encoding: 'utf8',
    cwd: projectRoot,
    timeout: 180_000,
  });
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr.slice(-600)}`);
  return stdout;
}

const text = (options.log?.map((path) => readFileSync(path, 'utf8')) ?? PROGRAMS.map(run)).join('\n');
const lines = text.split('\n');
const rows = lines.flatMap((line) => {
  const found = LINE.exec(line)?.groups;
  if (found?.tokens !== options.tokens) return [];
  const [floor, milliseconds] = [Number(found.floor), Number(found.milliseconds)];
  return [
    [
      found.shape!,
      found.kernel!,
      Number(found.megabytes),
      floor,
      milliseconds,
      Number(found.rate),
      floor > 0 ? Number((milliseconds / floor).toFixed(2)) : '',
    ],
  ];
});
const attention = lines.flatMap((line) => {
  const found = ATTENTION_LINE.exec(line)?.groups;
  if (!found || options.tokens !== ATTENTION_TOKENS) return [];
  const number = (name: string) => Number(found[name]);
  const [floor, milliseconds, flash] = [number('floor'), number('milliseconds'), number('flash')];
  return [
    [
      found.lengths!,
      found.heads!,
      Number(found.dropout),
      found.pass === 'fwd' ? 'forward' : 'backward',
      Number(found.megabytes),
      floor,
      milliseconds,
      Number((milliseconds / floor).toFixed(2)),
      flash,
      Number((flash / milliseconds).toFixed(2)),
    ],
  ];
});
if (rows.length === 0) throw new Error(`no kernel was timed at ${options.tokens} tokens`);
const body = [
  `${Number(options.tokens).toLocaleString('en')} tokens in bf16, dropout 0.1; each kernel by itself on buffers that rotate, medians. ` +
    'The floor is what it must read and write once, at the 4.17 TB/s that a large copy reaches on this card.',
  table(['shape', 'kernel', 'MB', 'floor ms', 'measured ms', 'TB/s', 'of the floor'], rows),
  ...(attention.length === 0 ? [] : [ATTENTION_TEXT, table(ATTENTION_COLUMNS, attention)]),
].join('\n\n');
console.log(body);
if (options.write) {
  const place = `${new Date().toISOString().slice(0, 10)}, ${options.gpu ?? gpuName()}`;
  const command = `npm run bench -- kernel-floors --tokens ${options.tokens}`;
  writeResults('Kernels beside their floors', command, body, place);
}
