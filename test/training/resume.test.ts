import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { beside } from '../../lib/files/names-beside.js';
import type { TrainConfig } from '../../lib/training/config.js';
import type { StepEvent } from '../../lib/training/events.js';
import { train } from '../../lib/training/train.js';
import { digests, pairs, record, shortRun, writeRows } from './support.js';

test('a run that was interrupted and resumed ends with the same bits as one that was not', async (t) => {
  const { config } = await shortRun(t);
  // With dropout, a learned temperature, several epochs and a schedule: everything that has a state.
  const settings: TrainConfig = {
    ...config,
    steps: 7,
    checkpoint: { every: 2 },
    loss: { learned: true, temperature: 0.1 },
  };
  const whole = { ...settings, output: `${config.output}-whole` };
  const { steps: expected } = await record(whole);

  const controller = new AbortController();
  const before: StepEvent[] = [];
  await assert.rejects(
    train(settings, {
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === 'step') before.push(event);
        if (event.type === 'step' && event.step === 5) controller.abort();
      },
    }),
    { code: 'ABORTED' },
  );
  assert.equal(before.length, 5);
  const { events, steps: after } = await record({ ...settings, resume: true });
  const [start] = events;
  assert.ok(
    start?.type === 'start' && start.done === 5 && start.resumed === join(config.output, 'checkpoint-5'),
  );

  const figures = (list: StepEvent[]) =>
    list.map(({ step, loss, lr, gradNorm, epoch }) => ({ step, loss, lr, gradNorm, epoch }));
  assert.deepEqual(figures([...before, ...after]), figures(expected));
  assert.deepEqual(await digests(join(settings.output, 'model')), await digests(join(whole.output, 'model')));
  assert.deepEqual(
    await digests(join(settings.output, 'checkpoint-6')),
    await digests(join(whole.output, 'checkpoint-6')),
  );
  // Lines of the step that was made twice are there once.
  const lines = (await readFile(join(config.output, 'metrics.jsonl'), 'utf8'))
    .split('\n')
    .filter((line) => line.includes('"type":"step"'));
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as StepEvent).step),
    [1, 2, 3, 4, 5, 6, 7],
  );
});

test('a chunk size that was measured or halved is in the checkpoint, and a resumed run cuts its chunks by it', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, chunk: 'auto', steps: 2, checkpoint: { every: 2 } } as const;
  await train(settings);
  const path = join(config.output, 'checkpoint-2', 'trainer.json');
  const state = JSON.parse(await readFile(path, 'utf8')) as { chunk?: object };
  assert.equal(state.chunk, undefined, 'nothing was measured on the CPU, and nothing halved');
  const resumedWith = async (chunk: object) => {
    await writeFile(path, JSON.stringify({ ...state, chunk }));
    await rm(join(config.output, 'model'), { recursive: true, force: true });
    const { steps } = await record({ ...settings, steps: 3, resume: true });
    return steps[0]!.chunks;
  };
  const stored = { asked: 'auto', device: 'cpu', size: { tokens: 40 } };
  assert.equal(await resumedWith({ ...stored, device: 'cuda' }), 2, 'that of another device says nothing');
  assert.equal(
    await resumedWith({ ...stored, asked: { tokens: 80 } }),
    2,
    'that for another setting neither',
  );
  const chunks = await resumedWith(stored);
  assert.ok(chunks > 6, `${chunks} chunks`);
  await assert.rejects(resumedWith({ ...stored, size: { tokens: 'many' } }), { code: 'CHECKPOINT' });
});

test('earlier results are not overwritten, and another order of the data is not resumed', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, steps: 2, checkpoint: { every: 2 } };
  await record(settings);
  await assert.rejects(record(settings), {
    code: 'INPUT',
    message: /already holds a checkpoint of step 2 of an earlier run/,
  });
  await assert.rejects(record({ ...settings, resume: true, batch: 10 }), {
    code: 'INPUT',
    message: /batch was 20, now 10/,
  });
  await assert.rejects(record({ ...settings, resume: true, seed: 9 }), {
    code: 'INPUT',
    message: /seed was 1, now 9/,
  });
  await writeRows(config.data as string, pairs(50));
  await assert.rejects(record({ ...settings, steps: 3, resume: true }), {
    code: 'INPUT',
    message: /the data has changed/,
  });
  await assert.rejects(record({ ...settings, resume: join(config.output, 'model') }), {
    code: 'CHECKPOINT',
    message: /not a checkpoint of a training run/,
  });
});

test('going on from an earlier checkpoint mixes neither with what came after it nor with another run', async (t) => {
  const { folder, config } = await shortRun(t);
  const settings = { ...config, steps: 3, checkpoint: { every: 1, keep: 9 } };
  await record(settings);
  const resume = join(config.output, 'checkpoint-1');
  await assert.rejects(record({ ...settings, resume }), {
    code: 'INPUT',
    message: /holds checkpoints after step 1, .*: 2, 3\. Give another output folder/,
  });
  const other = join(folder, 'other');
  await record({ ...config, seed: 5, steps: 1, output: other });
  const before = await digests(other);
  await assert.rejects(record({ ...settings, resume, output: other }), {
    code: 'INPUT',
    message: /already holds the model of an earlier run\. Give another/,
  });
  assert.deepEqual(await digests(other), before);
  await record({ ...settings, resume, output: join(folder, 'branch') });
  assert.deepEqual(
    await digests(join(folder, 'branch', 'model')),
    await digests(join(config.output, 'model')),
  );
});

test('a finished model is not overwritten by a new run', async (t) => {
  const { config } = await shortRun(t);
  await record({ ...config, steps: 1 });
  for (const resume of [false, true]) {
    await assert.rejects(record({ ...config, steps: 1, resume }), {
      code: 'INPUT',
      message: resume
        ? /the model of an earlier run, but no checkpoint to resume it from: .*--checkpoint-every\)\. Give another/
        : /already holds the model of an earlier run\. Give another/,
    });
  }
});

test('a resumed run that was at its end makes no step and writes the model', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, steps: 2, checkpoint: { every: 2 } };
  await record(settings);
  const result = await train({ ...settings, resume: true });
  assert.deepEqual(result, {
    steps: 2,
    loss: null,
    temperature: 0.05,
    before: null,
    best: null,
    model: join(config.output, 'model'),
    scores: null,
    skipped: 0,
  });
});

test('a run resumed at its end is evaluated as it would have been', async (t) => {
  const { config } = await shortRun(t);
  const evaluation = { task: 'retrieval', data: config.data as string } as const;
  const settings = { ...config, evaluation, steps: 2, checkpoint: { every: 2 } };
  const whole = await train(settings);
  assert.ok(whole.scores !== null);
  assert.deepEqual((await train({ ...settings, resume: true })).scores, whole.scores);
});

test('what a killed run left half written is removed at the next start', async (t) => {
  const { config } = await shortRun(t);
  await record({ ...config, steps: 2, checkpoint: { every: 2 } });
  const half = beside(join(config.output, 'checkpoint-4'), 'tmp');
  await mkdir(half);
  await mkdir(beside(join(config.output, 'model'), 'tmp'));
  await mkdir(beside(half, 'tmp'));
  await mkdir(beside(half, 'old'));
  await writeFile(beside(join(config.output, 'metrics.jsonl'), 'tmp'), '');
  // Names that a user may give:
  for (const name of ['model.2024.old', 'checkpoint-1.5.tmp']) await mkdir(join(config.output, name));
  await record({ ...config, steps: 3, checkpoint: { every: 3 }, resume: true });
  assert.deepEqual((await readdir(config.output)).sort(), [
    'checkpoint-1.5.tmp',
    'checkpoint-2',
    'checkpoint-3',
    'metrics.jsonl',
    'model',
    'model.2024.old',
    'settings.json',
  ]);
});
