/**
 * Every CUDA kernel of ours by itself, beside the time that its bytes take at the memory's rate: what
 * bench/kernels/{rows,attention}.py print, as a table.
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

const PROGRAMS = ['bench/kernels/rows.py', 'bench/kernels/attention.py'];

/** "BERT-base T=32768 gelu forward   402.7 MB  floor 0.0966  measured 0.1100 ms   3.66 TB/s  1.14x" */
const LINE =
  /^(?<shape>\S+) T=(?<tokens>\d+) (?<kernel>.+?) +(?<megabytes>[\d.]+) MB +floor (?<floor>[\d.]+) +measured (?<milliseconds>[\d.]+) ms +(?<rate>[\d.]+) TB\/s/;

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
const rows = text.split('\n').flatMap((line) => {
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
if (rows.length === 0) throw new Error(`no kernel was timed at ${options.tokens} tokens`);
const body = [
  `${Number(options.tokens).toLocaleString('en')} tokens in bf16, dropout 0.1; each kernel by itself on buffers that rotate, medians. ` +
    'The floor is what it must read and write once, at the 4.17 TB/s that a large copy reaches on this card.',
  table(['shape', 'kernel', 'MB', 'floor ms', 'measured ms', 'TB/s', 'of the floor'], rows),
].join('\n\n');
console.log(body);
if (options.write) {
  const place = `${new Date().toISOString().slice(0, 10)}, ${options.gpu ?? gpuName()}`;
  const command = `npm run bench -- kernel-floors --tokens ${options.tokens}`;
  writeResults('Kernels beside their floors', command, body, place);
}
