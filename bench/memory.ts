/**
 * Peak memory of a step as the batch grows and the chunk does not: what the paper claims to be almost flat.
 *
 *   npm run bench -- memory [--write]
 *
 * Every batch size runs in a process of its own, so that no point inherits memory that another one left to the allocator.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { table, writeResults } from './support/results.js';
import { measurePeak, type Peak } from './support/peak.js';

const MIB = 2 ** 20;
const SIZES = [512, 1024, 2048, 4096, 8192, 16_384];
const RUNS = 3;
const program = fileURLToPath(import.meta.url);

function inOwnProcess(pairs: number): Peak {
  return JSON.parse(
    execFileSync(process.execPath, [program, '--pairs', String(pairs)], { encoding: 'utf8' }),
  ) as Peak;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { pairs: { type: 'string' }, write: { type: 'boolean', default: false } },
  });
  if (values.pairs !== undefined) {
    console.log(JSON.stringify(await measurePeak(Number(values.pairs))));
    return;
  }
  const peaks = SIZES.map((pairs) => {
    const runs = Array.from({ length: RUNS }, () => inOwnProcess(pairs)).sort((a, b) => a.peak - b.peak);
    const peak = runs[Math.floor(RUNS / 2)]!;
    process.stderr.write(`${pairs} pairs: ${(peak.peak / MIB).toFixed(0)} MiB\n`);
    return peak;
  });
  const first = peaks[0]!;
  const rows = peaks.map((peak) => [
    peak.pairs,
    Number((peak.peak / MIB).toFixed(1)),
    Number(((peak.peak - first.peak) / MIB).toFixed(1)),
    Number(((peak.unavoidable - first.unavoidable) / MIB).toFixed(1)),
    Number(peak.seconds.toFixed(1)),
  ]);
  const body = [
    `Pairs of 2 x ${first.tokensPerText} tokens, ${first.shape}, chunk of ${first.chunk} sequences; median of ${RUNS} ` +
      'processes. The bound is what must ' +
      'grow: representations, their gradients and the token ids.',
    '',
    table(['pairs', 'peak MiB', `growth since ${first.pairs}`, 'bound', 'seconds a step'], rows),
  ].join('\n');
  console.log(body);
  if (values.write) writeResults('Memory', 'npm run bench -- memory --write', body);
}

await main();
