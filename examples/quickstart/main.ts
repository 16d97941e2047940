/**
 * The quickstart: trains a small text encoder from random weights on the definitions of WordNet, with a batch far larger
 * than what is in the encoder at once, and shows what came of it.
 *
 *     npm run quickstart [-- --json]
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureMemory } from './memory-curve.js';
import { makeModel } from './model.js';
import { writeReport } from './report.js';
import { findTerms, measure, train } from './train.js';
import { readWordNet, split } from './wordnet.js';
import type { Definition } from './wordnet.js';

/** Definitions held out, and those shown in the report. */
const HELD_OUT = 2000;
const SHOWN = 12;

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
    settings: {
      batch: Number(values.batch),
      chunk: Number(values.chunk),
      steps: Number(values.steps),
      lr: 5e-3,
      temperature: 0.05,
    },
    curve: curve.map(Number),
    wholeUpTo: Number(values['whole-up-to']),
    output: values.output,
  };
}

async function main(): Promise<void> {
  const started = performance.now();
  const { json, pairs, settings, curve, wholeUpTo, output } = readOptions();
  const say = (line: string): void => void process.stdout.write(`${line}\n`);

  const definitions = (await readWordNet()).slice(0, pairs);
  const { train: seen, heldOut } = split(
    definitions,
    Math.min(HELD_OUT, Math.floor(definitions.length / 10)),
  );
  const model = await makeModel('cpu');
  const parameters = model.parameters().reduce((sum, { tensor }) => sum + tensor.size, 0);
  say(
    `${seen.length} pairs of definition and term, ${heldOut.length} held out; an encoder of ${parameters} parameters, random weights`,
  );

  const before = await measure(model, heldOut);
  const examples = pickExamples(heldOut);
  const found = await showTerms(model, examples, heldOut);
  say(
    `before training: the right term is among the first 10 for ${percent(before.recall[10])} of the definitions held out`,
  );

  say(
    `training: ${settings.steps} steps of ${settings.batch} pairs, ${settings.chunk} texts in the encoder at once`,
  );
  const training = await train(model, seen, settings, (step, loss, tokensPerSecond) => {
    if (step % 5 === 0 || step === 1)
      say(`  step ${step}: loss ${loss.toFixed(3)}, ${Math.round(tokensPerSecond)} tokens/s`);
  });
  const after = await measure(model, heldOut);
  const foundAfter = await showTerms(model, examples, heldOut);
  say(`after training: ${percent(after.recall[10])}`);
  await mkdir(output, { recursive: true });
  await model.save(join(output, 'model'));
  model.dispose();

  if (curve.length > 0) say('memory of one step, each measured in a process of its own:');
  const memory = await measureMemory(curve, settings.chunk, wholeUpTo, ({ batch, cached, whole }) => {
    const without = whole === null ? '' : `, ${mebibytes(whole)} MiB with the whole batch at once`;
    say(`  ${batch} pairs: ${mebibytes(cached)} MiB${without}`);
  });

  const seconds = (performance.now() - started) / 1000;
  const report = join(output, 'report.html');
  const html = writeReport({
    pairs: seen.length,
    heldOut: heldOut.length,
    parameters,
    settings,
    training,
    recallAt1: { before: before.recall[1] ?? 0, after: after.recall[1] ?? 0 },
    recallAt10: { before: before.recall[10] ?? 0, after: after.recall[10] ?? 0 },
    memory,
    examples: examples.map(({ gloss, term }, row) => ({
      gloss,
      term,
      before: found[row] ?? [],
      after: foundAfter[row] ?? [],
    })),
    seconds,
    machine: `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cpus().length} cores`,
  });
  await writeFile(report, html);
  say(`the model: ${relative('.', join(output, 'model'))}`);
  say(`the report: ${relative('.', report)}`);
  if (!json) return;
  const result = {
    pairs: seen.length,
    batch: settings.batch,
    chunk: settings.chunk,
    steps: training.losses.length,
    recallAt10: { before: before.recall[10], after: after.recall[10] },
    tokensPerSecond: Math.round(training.tokens / training.seconds),
    peakMemoryMiB: mebibytes(training.peakMemory),
    seconds: Number(seconds.toFixed(1)),
  };
  say(JSON.stringify(result));
}

/** Some of the definitions held out, spread over all of them: of middling length, with terms of one word. */
function pickExamples(heldOut: readonly Definition[]): Definition[] {
  const good = heldOut.filter(
    ({ gloss, term }) => gloss.length > 25 && gloss.length < 90 && /^[a-z]{4,12}$/.test(term),
  );
  const stride = Math.max(1, Math.floor(good.length / SHOWN));
  return good.filter((_, index) => index % stride === 0).slice(0, SHOWN);
}

async function showTerms(
  model: Parameters<typeof findTerms>[0],
  examples: readonly Definition[],
  heldOut: readonly Definition[],
): Promise<string[][]> {
  const terms = heldOut.map(({ term }) => term);
  return findTerms(
    model,
    examples.map(({ gloss }) => gloss),
    terms,
    5,
  );
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
