/** A language model trained over ranks is what one process trains: steps, state, whole runs, and what goes wrong. */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  trainLanguage,
  type LanguageStepEvent,
  type LanguageTrainConfig,
  type LanguageTrainEvent,
} from '../../lib/index.js';
import { gradcache } from '../cli/program.js';
import { digests, temporaryFolder } from '../training/support.js';
import { runRanks } from './start-ranks.js';

interface Failure {
  readonly code: string;
  readonly message: string;
}

interface Failed {
  readonly failure: Failure;
  readonly kept: number;
  readonly next: number;
}

interface ToldRun extends Partial<Failure> {
  readonly events: readonly LanguageTrainEvent[];
}

/** What each rank found (segments-program.ts). */
interface Found {
  readonly cases: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly failed: Failed;
  readonly aborted: Failed;
  readonly lengths: Failure;
  readonly weights: Failure;
  readonly models: Failure;
  readonly wrong: Failure;
  readonly unready: Failure;
  readonly runs: readonly ToldRun[];
}

const TEXT = Array.from(
  { length: 40 },
  (_, k) => `the ${k % 7} old clocks tick, and ${k % 3} do not.\n`,
).join('');

const stepsOf = (events: readonly LanguageTrainEvent[]): LanguageStepEvent[] =>
  events.filter((event): event is LanguageStepEvent => event.type === 'step');

function requireSame(all: readonly Found[]): void {
  const size = all.length;
  for (const { cases, failed, aborted, lengths, weights, models, wrong, unready } of all) {
    for (const [name, { tokens, norm, ...errors }] of Object.entries(cases)) {
      assert.ok(norm! > 1e-3 && tokens === 0, name);
      for (const [what, error] of Object.entries(errors))
        assert.ok(error < 1e-10, `${name} over ${size} ranks, ${what}: ${error}`);
    }
    for (const { kept, next } of [failed, aborted]) assert.ok(kept === 0 && next < 1e-10, `${kept} ${next}`);
    assert.match(failed.failure.message, /no room$/);
    assert.deepEqual([failed.failure.code, aborted.failure.code], ['OUT_OF_MEMORY', 'ABORTED']);
    assert.match(
      lengths.message,
      new RegExp(`rank ${size - 1} gives segments of 3 tokens, and rank 0 of 3, 2`),
    );
    assert.match(
      weights.message,
      new RegExp(`rank ${size - 1} gives the step the weight 0.5, and rank 0 the weight 1`),
    );
    assert.match(models.message, new RegExp(`rank ${size - 1} trains \\d+ numbers, and rank 0 \\d+`));
    assert.match(unready.message, /it is gone$/);
    assert.equal(unready.code, 'DISPOSED');
    assert.match(wrong.message, /a step needs at least one segment/);
    for (const { code } of [lengths, weights, models, wrong]) assert.equal(code, 'INPUT');
  }
}

test('a language model over 2 and 3 ranks is trained as by one process, and goes on from a checkpoint with any number', async (t) => {
  const folder = await temporaryFolder(t);
  const [data, held] = [join(folder, 'data.txt'), join(folder, 'held.txt')];
  await writeFile(data, TEXT);
  await writeFile(held, TEXT.slice(0, 300));
  const to = (name: string) => join(folder, name);
  const base: LanguageTrainConfig = {
    model: { cell: 'sru++', width: 12, projected: 4, layers: 2, dropout: 0, attentionDropout: 0 },
    vocabulary: 'characters',
    data,
    documents: 'line',
    output: to('whole'),
    rows: 5,
    segment: { length: 8, count: 2 },
    across: { kind: 'synthetic', factor: 1 },
    optimizer: { kind: 'adamw', lr: 0.01 },
    precision: 'float64',
    steps: 8,
    evaluation: { data: held, rows: 3 },
    checkpoint: { every: 4 },
  };
  const dropped = { ...base, model: { ...(base.model as object), dropout: 0.2 }, output: to('dropped') };
  const copied = (from: string, name: string): readonly [string, string] => [
    join(from, 'checkpoint-4'),
    join(to(name), 'checkpoint-4'),
  ];
  const runs = async (list: object[][]) => {
    await writeFile(to('runs.json'), JSON.stringify(list));
    return [to('runs.json')];
  };
  const alone: LanguageStepEvent[] = [];
  const { scores } = await trainLanguage(
    { ...base, output: to('alone') },
    { onEvent: (event) => event.type === 'step' && alone.push(event) },
  );
  const two = await runRanks<Found>(
    2,
    'segments-program.js',
    await runs([
      [{ config: base }],
      [{ config: dropped }],
      [{ config: { output: to('same'), resume: true }, copy: copied(dropped.output, 'same') }],
      [{ config: { ...base, output: to('few'), rows: 1 } }],
      [{ config: { ...base, output: to('other') } }, { config: { ...base, output: to('other'), seed: 2 } }],
    ]),
  );
  requireSame(two);
  const [whole, , same, few, other] = two[0]!.runs;
  assert.deepEqual(two[1]!.runs[0]!.events, []);
  const start = whole!.events.find(({ type }) => type === 'start') as { ranks?: number };
  assert.equal(start.ranks, 2);
  const close = (some: readonly LanguageStepEvent[], from: number): void => {
    assert.equal(some.length, alone.length - from);
    for (const [place, step] of some.entries()) {
      const { loss, gradNorm, tokens, synthesiserLoss } = alone[from + place]!;
      assert.ok(Math.abs(step.loss - loss) < 1e-9 && Math.abs(step.gradNorm - gradNorm) < 1e-9 * gradNorm);
      assert.ok(Math.abs(step.synthesiserLoss! - synthesiserLoss!) <= 1e-9 * synthesiserLoss!);
      assert.equal(step.tokens, tokens);
    }
  };
  close(stepsOf(whole!.events), 0);
  const measured = whole!.events.find(({ type }) => type === 'evaluation') as {
    scores: Record<string, number>;
  };
  for (const [name, score] of Object.entries(scores!))
    assert.ok(Math.abs(measured.scores[name]! - score) < 1e-9);
  assert.equal(stepsOf(same!.events).length, 4);
  assert.deepEqual(await digests(join(to('same'), 'model')), await digests(join(to('dropped'), 'model')));
  assert.deepEqual([few!.code, other!.code], ['INPUT', 'DISTRIBUTED']);
  assert.match(few!.message!, /config\.rows is 1; at least 2, a row for each rank/);
  assert.match(other!.message!, /config\.seed is 1 on rank 0 and 2 on rank 1/);

  const three = await runRanks<Found>(
    3,
    'segments-program.js',
    await runs([[{ config: { output: to('three'), resume: true }, copy: copied(base.output, 'three') }]]),
  );
  requireSame(three);
  const [{ events }] = three[0]!.runs as [ToldRun];
  close(stepsOf(events), 4);
  assert.match(JSON.stringify(events), /the run was on 2 ranks, now on 3/);
  const after: LanguageStepEvent[] = [];
  await trainLanguage(
    { output: to('one'), resume: join(base.output, 'checkpoint-4') },
    { onEvent: (event) => event.type === 'step' && after.push(event) },
  );
  close(after, 4);
});

test('Ctrl-C ends a language run over ranks with a checkpoint of its last update, from which one process goes on', async (t) => {
  const folder = await temporaryFolder(t);
  const [data, output] = [join(folder, 'data.txt'), join(folder, 'run')];
  await writeFile(data, TEXT);
  const flags = ['--data', data, '--output', output, '--rows', '4', '--length', '8', '--device', 'cpu'];
  const model = ['--cell', 'sru', '--model.width', '8', '--model.layers', '1', '--steps', '100000'];
  let sent = false;
  const { code, stderr } = await gradcache(
    ['language', 'train', ...flags, ...model, '--ranks', '2', '--json'],
    {
      onOutput: (child, written) => {
        if (sent || !written.includes('"type":"step","step":5')) return;
        sent = true;
        child.kill('SIGINT');
      },
    },
  );
  assert.equal(code, 130, stderr);
  assert.match(stderr, /ABORTED: Interrupted\. The checkpoint of step \d+ is complete/);
  const told = (await readFile(join(output, 'metrics.jsonl'), 'utf8')).trim().split('\n');
  const made = told
    .map((line) => JSON.parse(line) as LanguageTrainEvent)
    .filter((event): event is LanguageStepEvent => event.type === 'step')
    .at(-1)!.step;
  assert.ok((await readdir(output)).includes(`checkpoint-${made}`));
  const { steps } = await trainLanguage({ output, resume: true, steps: made + 2 });
  assert.equal(steps, made + 2);
});
