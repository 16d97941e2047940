/**
 * The recurrence's CUDA kernels beside a copy of as many bytes and beside the published kernels: what
 * test/cuda/recurrence.py prints, as a table.
 *
 *   npm run bench -- recurrence-gpu [--published FOLDER] [--write]     FOLDER: the unpacked package (pip download sru)
 *   npm run bench -- recurrence-gpu --log FILE --gpu NAME [--write]    the table from what an earlier run printed
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { projectRoot } from '../test/oracle/python.js';
import { gpuName, table, writeResults } from './support/results.js';

/** "32 x 1024 x 3072         forward  | 1208.0 |  0.3100 | 3.90 |  0.2900 |        1.07 |  0.9000 ( 0.8000) |  2.90 ( 2.58)" */
const LINE =
  /^ *(?<shape>\d+ x \d+ x \d+) +(?<pass>\w+) *\| *(?<megabytes>[\d.]+) \| *(?<ours>[\d.]+) \| *(?<rate>[\d.]+) \| *(?<copy>[\d.]+) \| *(?<ratio>[\d.]+) \| *(?<published>[\d.]+|nan) \( *(?<bare>[\d.]+|nan)\)/;

const { values: options } = parseArgs({
  options: {
    published: { type: 'string' },
    log: { type: 'string' },
    gpu: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});

function run(): string {
  const published = options.published === undefined ? [] : ['--published', options.published];
  const { status, stdout, stderr } = spawnSync('python3', ['test/cuda/recurrence.py', ...published], {
    encoding: 'utf8',
    cwd: projectRoot,
    timeout: 500_000,
  });
  if (status !== 0) throw new Error(`test/cuda/recurrence.py ended with ${status}: ${stderr.slice(-600)}`);
  return stdout;
}

const rows = (options.log === undefined ? run() : readFileSync(options.log, 'utf8'))
  .split('\n')
  .flatMap((line) => {
    const found = LINE.exec(line)?.groups;
    if (!found) return [];
    const number = (name: string): number => Number(found[name]);
    const times = (name: string): number | string =>
      Number.isNaN(number(name)) ? '' : Number((number(name) / number('ours')).toFixed(2));
    const [megabytes, ours, rate] = [number('megabytes'), number('ours'), number('rate')];
    return [
      [found.shape!, found.pass!, megabytes, ours, rate, number('ratio'), times('published'), times('bare')],
    ];
  });
if (rows.length === 0) throw new Error('nothing was timed');
const body = [
  'bfloat16 with float32 state, dropout; batch x length x width; each pass by itself on buffers that rotate, medians. ' +
    'Beside a copy that moves as many bytes, and beside the published kernels on the same card in the same run (float16: as ' +
    'many bytes), whose operators fill their results with zeros first: in the last column without the time of that.',
  table(['shape', 'pass', 'MB', 'ms', 'TB/s', 'of the copy', 'published / ours', 'without fills'], rows),
].join('\n\n');
console.log(body);
if (options.write) {
  const place = `${new Date().toISOString().slice(0, 10)}, ${options.gpu ?? gpuName()}`;
  writeResults('The recurrence on a GPU', 'npm run bench -- recurrence-gpu', body, place);
}
