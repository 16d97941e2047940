import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { infoNCE } from '../../lib/losses/info-nce.js';
import { AdamW } from '../../lib/optim/adamw.js';
import { GradCache } from '../../lib/step/gradcache.js';
import { train } from '../../lib/training/train.js';
import { updatesOf } from '../../lib/training/batches-of-update.js';
import { digests, pairs, record, shortRun } from './support.js';

test('an update is that of the mean gradient of its batches', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, accumulate: 3, steps: 1, shuffle: false, dropout: 0 };
  const { steps } = await record(settings);
  const model = await TextEncoder.load(config.model as string, { device: 'cpu', dropout: 0 });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-2 });
  const gradcache = new GradCache({
    encoders: [model, model],
    loss: infoNCE(),
    chunk: { sequences: 8 },
    accumulate: 3,
  });
  let loss = 0;
  for (let batch = 0; batch < 3; batch++) {
    const rows = pairs().slice(20 * batch, 20 * batch + 20);
    const inputs = [rows.map(({ anchor }) => anchor), rows.map(({ positive }) => positive)];
    loss += (await gradcache.step(inputs.map((texts) => model.tokenize(texts)))).loss / 3;
  }
  const { gradNorm } = await optimizer.step();
  model.dispose();
  assert.equal(steps.length, 1);
  assert.ok(Math.abs(steps[0]!.loss - loss) < 1e-5, `${steps[0]!.loss} ${loss}`);
  assert.ok(Math.abs(steps[0]!.gradNorm - gradNorm) < 1e-4 * gradNorm, `${steps[0]!.gradNorm} ${gradNorm}`);
  assert.equal(steps[0]!.pairs, 60);
});

test('a run whose updates have several batches is resumed bit for bit, and its epochs give whole updates', async (t) => {
  const { config } = await shortRun(t);
  // Three batches an epoch: seven epochs have 21 of them, ten updates and a batch that is left over.
  const settings = { ...config, accumulate: 2, steps: undefined, epochs: 7, checkpoint: { every: 4 } };
  const whole = { ...settings, output: `${config.output}-whole` };
  assert.equal((await record(whole)).steps.length, 10);
  const controller = new AbortController();
  let chunks = 0;
  const run = train(settings, {
    signal: controller.signal,
    // In the second batch of the sixth update.
    onEvent: (event) => {
      if (event.type === 'chunk' && event.step === 6 && event.phase === 'loss' && ++chunks === 2)
        controller.abort();
    },
  });
  await assert.rejects(run, { code: 'ABORTED' });
  const { events } = await record({ output: settings.output, resume: true });
  assert.ok(events[0]?.type === 'start' && events[0].done === 5);
  assert.deepEqual(await digests(join(settings.output, 'model')), await digests(join(whole.output, 'model')));
  await assert.rejects(
    record({ output: settings.output, resume: true, epochs: 9, accumulate: 3 }),
    /config\.accumulate was 2, now 3/,
  );
});

test('updates that cannot be are refused', async (t) => {
  const { config } = await shortRun(t);
  const epochs = { ...config, steps: undefined, epochs: 1 };
  await assert.rejects(record({ ...epochs, accumulate: 4 }), /config\.accumulate is 4; a number up to 3/);
  await assert.rejects(
    record({ ...config, accumulate: 2, memory: { capacity: 9 } }),
    /config\.accumulate is 2, and a memory/,
  );
  await assert.rejects(record({ ...config, accumulate: 0.5 }), /config\.accumulate is 0\.5/);
});

test('an update in which an epoch ends, ends it', async () => {
  async function* batches() {
    for (let batch = 0; batch < 10; batch++) yield { batch, epoch: Math.floor(batch / 3) };
  }
  const epochOf = ({ epoch }: { epoch: number }) => epoch;
  const ends: unknown[] = [];
  for await (const { batches: all, endsEpoch } of updatesOf(batches(), { accumulate: 2, epochOf }))
    ends.push([...all.map(({ batch }) => batch), endsEpoch]);
  // Batches 2, 5 and 8 are the last of their epochs.
  assert.deepEqual(ends, [
    [0, 1, false],
    [2, 3, true],
    [4, 5, true],
    [6, 7, false],
    [8, 9, true],
  ]);
});
