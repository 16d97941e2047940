import assert from 'node:assert/strict';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TrainConfig } from '../../lib/training/config.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { train } from '../../lib/training/train.js';
import { digests, record, shortRun } from './support.js';

/** Trains until an event fires the signal. */
async function interrupt(config: TrainConfig, when: (event: TrainEvent) => boolean): Promise<TrainEvent[]> {
  const controller = new AbortController();
  const events: TrainEvent[] = [];
  const onEvent = (event: TrainEvent): void => {
    events.push(event);
    if (when(event)) controller.abort();
  };
  await assert.rejects(train(config, { signal: controller.signal, onEvent }), { code: 'ABORTED' });
  return events;
}

const isChunk = (phase: 'forward' | 'loss' | 'backward', step: number) => (event: TrainEvent) =>
  event.type === 'chunk' && event.step === step && event.phase === phase;

test('an interrupted run leaves its last whole update, and goes on from it to the same bytes', async (t) => {
  const { config } = await shortRun(t);
  const settings: TrainConfig = {
    ...config,
    steps: 4,
    // What a step changes besides the weights: a learned temperature, and a memory that a slow encoder fills.
    loss: { learned: true, temperature: 0.1 },
    memory: { capacity: 30, momentum: 0.9 },
  };
  const whole = { ...settings, output: `${config.output}-whole` };
  await record(whole);
  const expected = await digests(join(whole.output, 'model'));
  const { output } = settings;
  for (const [name, when, kept] of [
    ['in the first pass', isChunk('forward', 3), 2],
    ['in the loss', isChunk('loss', 3), 2],
    ['in the second pass', isChunk('backward', 3), 2],
    ['after an update', (event: TrainEvent) => event.type === 'step' && event.step === 3, 3],
  ] as const) {
    await interrupt(settings, when);
    assert.deepEqual(
      (await readdir(output)).sort(),
      [`checkpoint-${kept}`, 'metrics.jsonl', 'settings.json'],
      name,
    );
    await train({ output, resume: true });
    assert.deepEqual(await digests(join(output, 'model')), expected, name);
    await rm(output, { recursive: true });
  }
});

test('a measurement that was interrupted is made when the run goes on', async (t) => {
  const { config } = await shortRun(t);
  const settings: TrainConfig = {
    ...config,
    steps: 4,
    evaluation: { task: 'retrieval', data: config.data as string, every: 2 },
  };
  const { events: whole } = await record({ ...settings, output: `${config.output}-whole` });
  // The step is told before held-out data is measured, and the signal fires then.
  await interrupt(settings, (event) => event.type === 'step' && event.step === 2);
  const { events } = await record({ output: settings.output, resume: true });
  const scores = (list: readonly TrainEvent[]) => list.filter(({ type }) => type === 'evaluation');
  assert.deepEqual(scores(events), scores(whole));
});

test('without checkpoints an interrupted run leaves none, and begins anew with the settings of its folder', async (t) => {
  const { config } = await shortRun(t);
  const settings: TrainConfig = { ...config, steps: 3, checkpoint: false };
  const { output } = config;
  await interrupt(settings, isChunk('backward', 2));
  assert.deepEqual((await readdir(output)).sort(), ['metrics.jsonl', 'settings.json']);
  const { events, steps } = await record({ output, resume: true, seed: 5 });
  assert.equal(steps.length, 3);
  const notes = events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
  assert.match(notes[0]!, /^no checkpoint had been made: the run begins anew, as .*settings\.json says$/);
  assert.equal(notes[1], 'seed was 1, now 5');
  const stored = JSON.parse(await readFile(join(output, 'settings.json'), 'utf8')) as Partial<TrainConfig>;
  assert.equal(stored.seed, 5);
  // The file is a configuration.
  await record({ ...(stored as TrainConfig), output: `${output}-again` });
  assert.deepEqual(await digests(join(`${output}-again`, 'model')), await digests(join(output, 'model')));
});

test('checkpoints come by steps, by time, or by both', async (t) => {
  const { config } = await shortRun(t);
  const saved = async (checkpoint: TrainConfig['checkpoint'], output: string) => {
    const { events } = await record({ ...config, output: config.output + output, steps: 5, checkpoint });
    return events.flatMap((event) => (event.type === 'saved' ? [event.step] : []));
  };
  assert.deepEqual(await saved({ every: 2 }, '-steps'), [2, 4, 5]);
  assert.deepEqual(await saved({ minutes: 1e-9, keep: 9 }, '-time'), [1, 2, 3, 4, 5, 5]);
  assert.deepEqual(await saved({ every: 3, minutes: 60 }, '-both'), [3, 5]);
  assert.deepEqual(await saved(false, '-none'), [5]);
});
