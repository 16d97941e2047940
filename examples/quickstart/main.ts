/**
 * The quickstart: trains a small text encoder from random weights on the definitions of WordNet, with a batch far larger
 * than what is in the encoder at once, and shows what came of it.
 *
 *     npm run quickstart [-- --json]
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { train, writeReport, type TrainEvent } from 'gradcache';
import { measureMemory } from './memory-curve.js';
import { MODEL } from './model.js';
import { readWordNet, split, type Definition } from './wordnet.js';

/** Definitions held out. */
const HELD_OUT = 2000;

function readOptions() {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      pairs: { type: 'string', default: 'Infinity' },
      batch: { type: 'string', default: '4096' },
      chunk: { type: 'string', default: '128' },
      steps: { type: 'string', default: '60' },
      curve: { type: 'string', default: '256,512,1024,2048,4096,8192,16384' },
      'whole-up-to': { type: 'string', default: '4096' },
      output: { type: 'string', default: fileURLToPath(new URL('../../quickstart', import.meta.url)) },
    },
  });
  const curve = values.curve.split(',').filter((size) => size !== '');
  return {
    json: values.json,
    pairs: Number(values.pairs),
    batch: Number(values.batch),
    chunk: Number(values.chunk),
    steps: Number(values.steps),
    curve: curve.map(Number),
    wholeUpTo: Number(values['whole-up-to']),
    output: values.output,
  };
}

async function main(): Promise<void> {
  const started = performance.now();
  const { json, pairs, batch, chunk, steps, curve, wholeUpTo, output } = readOptions();

  const definitions = (await readWordNet()).slice(0, pairs);
  const { train: seen, heldOut } = split(
    definitions,
    Math.min(HELD_OUT, Math.floor(definitions.length / 10)),
  );
  await mkdir(output, { recursive: true });
  // `train` replaces no model of an earlier run.
  await rm(join(output, 'model'), { recursive: true, force: true });
  const data = await writeRows(join(output, 'pairs.jsonl'), seen);
  const heldOutData = await writeRows(join(output, 'held-out.jsonl'), heldOut);

  const told = { tokens: 0, seconds: 0, peakMemory: 0 };
  // `gradcache train` takes the same settings, as flags or as a file.
  const { scores, before, model } = await train(
    {
      model: MODEL,
      data,
      columns: ['gloss', 'term'],
      output,
      device: 'cpu',
      batch,
      chunk: { sequences: chunk },
      loss: { kind: 'infonce', temperature: 0.05, symmetric: true },
      optimizer: { kind: 'adamw', lr: 5e-3 },
      steps,
      evaluation: {
        task: 'retrieval',
        data: heldOutData,
        before: true,
        every: Math.max(1, Math.round(steps / 6)),
      },
      checkpoint: false,
    },
    {
      onEvent(event) {
        if (event.type === 'step') {
          told.tokens += event.tokens;
          told.seconds += event.seconds;
          told.peakMemory = Math.max(told.peakMemory, event.peakMemory);
        }
        sayEvent(event, { seen: seen.length, heldOut: heldOut.length, batch, chunk });
      },
    },
  );

  if (curve.length > 0) say('memory of one step, each measured in a process of its own:');
  await measureMemory(curve, chunk, wholeUpTo, ({ batch, cached, whole }) => {
    const without = whole === null ? '' : `, ${mebibytes(whole)} MiB with the whole batch at once`;
    say(`  ${batch} pairs: ${mebibytes(cached)} MiB${without}`);
  });

  // `gradcache report` writes the same page about any run.
  const report = join(output, 'report.html');
  await writeReport([output], report, { title: 'Quickstart: definitions and terms of WordNet' });
  say(`the model: ${relative('.', model)}`);
  say(`the report: ${relative('.', report)}`);
  if (!json) return;
  const result = {
    pairs: seen.length,
    batch,
    chunk,
    steps,
    recallAt10: { before: before?.['recall@10'], after: scores?.['recall@10'] },
    tokensPerSecond: Math.round(told.tokens / told.seconds),
    peakMemoryMiB: mebibytes(told.peakMemory),
    seconds: Number(((performance.now() - started) / 1000).toFixed(1)),
  };
  say(JSON.stringify(result));
}

/** Shows how the run goes on. */
function sayEvent(
  event: TrainEvent,
  { seen, heldOut, batch, chunk }: { seen: number; heldOut: number; batch: number; chunk: number },
): void {
  switch (event.type) {
    case 'start':
      say(
        `${seen} pairs of definition and term, ${heldOut} held out; an encoder of ${event.parameters} parameters, random weights`,
      );
      say(`training: ${event.steps} steps of ${batch} pairs, ${chunk} texts in the encoder at once`);
      break;
    case 'step': {
      const { step, loss, tokensPerSecond } = event;
      if (step % 5 === 0 || step === 1)
        say(`  step ${step}: loss ${loss.toFixed(3)}, ${Math.round(tokensPerSecond)} tokens/s`);
      break;
    }
    case 'evaluation':
      say(
        `after ${event.step} steps the right term is among the first 10 for ${percent(event.scores['recall@10'])} of the definitions held out`,
      );
  }
}

async function writeRows(path: string, rows: readonly Definition[]): Promise<string> {
  await writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function percent(part: number | undefined): string {
  return `${(100 * (part ?? 0)).toFixed(1)} %`;
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
});
