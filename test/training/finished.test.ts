import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { train } from '../../lib/training/train.js';
import { digests, record, shortRun } from './support.js';

test('a finished run that is resumed says so and leaves everything as it is, whatever is given besides', async (t) => {
  const { config } = await shortRun(t);
  const { output } = config;
  for (const length of [{ steps: 5 }, { steps: undefined, epochs: 2 }]) {
    await rm(output, { recursive: true, force: true });
    const evaluation = { task: 'retrieval', data: config.data as string } as const;
    // The last checkpoint is not of the last step: there would be something to repeat.
    const run = { ...config, ...length, checkpoint: { every: 4 }, evaluation, loss: { learned: true } };
    const first = await train(run);
    const before = await digests(output);
    for (const given of [
      { output, resume: true },
      { output, resume: true, optimizer: { lr: 1 } },
      { ...run, resume: true },
      { output, resume: true, steps: 3 },
      { output, resume: join(output, 'checkpoint-4') },
    ] as const) {
      const events: string[] = [];
      const result = await train(given, {
        onEvent: (event) => events.push(event.type === 'note' ? event.message : event.type),
      });
      assert.deepEqual(await digests(output), before);
      assert.deepEqual(result, { ...first, loss: null });
      assert.equal(events.length, 1);
      assert.match(
        events[0]!,
        new RegExp(`^The run is finished: step ${first.steps} of ${first.steps}\\. Everything is left`),
      );
      if (JSON.stringify(given).includes('"lr":1}'))
        assert.match(events[0]!, /Not used: optimizer\.lr was 0\.01, now 1\./);
    }
  }
});

test('a finished run goes on where it is to take more steps, and is then not finished until they are done', async (t) => {
  const { config } = await shortRun(t);
  const { output } = config;
  await train({ ...config, steps: 3, checkpoint: { every: 2 } });
  const controller = new AbortController();
  const more = train(
    { output, resume: true, steps: 8 },
    {
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 7) controller.abort();
      },
    },
  );
  await assert.rejects(more, { code: 'ABORTED' });
  // The folder has the model of step 3, and a checkpoint of a run that goes to step 8.
  const { steps } = await record({ output, resume: true });
  assert.deepEqual(
    steps.map(({ step }) => step),
    [8],
  );
  const { events } = await record({ output, resume: true });
  assert.deepEqual(
    events.map(({ type }) => type),
    ['note'],
  );
});

test('a finished run whose model was taken away writes it again', async (t) => {
  const { config } = await shortRun(t);
  const { model } = await train({ ...config, checkpoint: { every: 2 } });
  const before = await digests(model);
  await rm(model, { recursive: true });
  const { events } = await record({ output: config.output, resume: true });
  assert.ok(events.some(({ type }) => type === 'saved'));
  assert.deepEqual(await digests(model), before);
});
