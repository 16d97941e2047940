import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readSafetensors } from '../../lib/safetensors/safetensors.js';
import { gradcache } from '../cli/program.js';
import { digests, pairs, record, shortRun, writeRows } from './support.js';

for (const momentum of [undefined, 0.9]) {
  test(`a memory trains, and goes on from a checkpoint bit for bit: momentum ${momentum}`, async (t) => {
    const { config } = await shortRun(t);
    const memory = { capacity: 35, start: 1, ...(momentum === undefined ? {} : { momentum }) };
    const schedule = { kind: 'constant', warmup: 0 } as const;
    const settings = { ...config, schedule, steps: 7, checkpoint: { every: 2 }, memory };
    const whole = { ...settings, output: `${config.output}-whole` };
    const { steps } = await record(whole);
    const { steps: without } = await record({
      ...settings,
      memory: undefined,
      output: `${config.output}-none`,
    });
    const pick = (from: typeof steps, name: 'loss' | 'truncated') => from.map((step) => step[name]);
    // The first step that is kept is the second, and the third is the first that meets it.
    assert.deepEqual(pick(steps, 'loss').slice(0, 2), pick(without, 'loss').slice(0, 2));
    assert.ok(steps[2]!.loss > without[2]!.loss, 'more candidates');
    assert.deepEqual(pick(steps, 'truncated'), pick(without, 'truncated'));

    const stored = await readSafetensors(join(whole.output, 'checkpoint-6', 'optimizer.safetensors'));
    assert.deepEqual(stored.get('loss.memory.rows')!.shape, [35, 16]);
    assert.equal(stored.has('loss.momentum.embeddings.word_embeddings.weight'), momentum !== undefined);

    await record({ ...settings, steps: 4 });
    const { steps: after } = await record({ output: settings.output, resume: true, steps: 7 });
    assert.deepEqual(pick(after, 'loss'), pick(steps, 'loss').slice(4));
    assert.deepEqual(
      await digests(join(settings.output, 'model')),
      await digests(join(whole.output, 'model')),
    );
    const ofRuns = [settings, whole].map(({ output }) => digests(join(output, 'checkpoint-6')));
    const [resumed, uninterrupted] = await Promise.all(ofRuns);
    for (const file of ['optimizer.safetensors', 'model.safetensors'])
      assert.equal(resumed![file], uninterrupted![file], file);
    await assert.rejects(record({ output: settings.output, resume: true, memory: { capacity: 99 } }), {
      code: 'INPUT',
      message: /memory\.capacity was 35, now 99/,
    });
  });
}

test('a row that shares a text with the batch is left out: a memory of the same rows alone changes nothing', async (t) => {
  const { config } = await shortRun(t);
  // Every batch is the whole of the data.
  const settings = { ...config, batch: 60, steps: 3 };
  const { steps } = await record({ ...settings, memory: { capacity: 60 } });
  const { steps: without } = await record({ ...settings, output: `${config.output}-none` });
  assert.deepEqual(
    steps.map(({ loss }) => loss),
    without.map(({ loss }) => loss),
  );
});

test('duplicates of a batch are masked beside a memory too', async (t) => {
  const { folder, config } = await shortRun(t);
  const twice = [...pairs(20), ...pairs(20)];
  const settings = {
    ...config,
    data: await writeRows(join(folder, 'twice.jsonl'), twice),
    batch: 40,
    steps: 2,
    uniqueTexts: false,
  };
  let runs = 0;
  const lossesWith = async (maskDuplicates: boolean, memory: object | undefined) => {
    const output = `${config.output}-${runs++}`;
    const loss = { kind: 'infonce', maskDuplicates } as const;
    const { steps } = await record({ ...settings, loss, output, ...(memory && { memory }) } as typeof config);
    return steps.map((step) => step.loss);
  };
  // Every batch holds all texts, so that no row of the memory is a candidate.
  for (const masked of [true, false])
    assert.deepEqual(await lossesWith(masked, { capacity: 40 }), await lossesWith(masked, undefined));
  assert.notEqual(
    (await lossesWith(true, { capacity: 20 }))[0],
    (await lossesWith(false, { capacity: 20 }))[0],
  );
});

test('the command line knows it, and what is no memory is refused', async (t) => {
  const { config } = await shortRun(t);
  const { steps } = await record({ ...config, memory: { capacity: 30, start: 2, momentum: 0.5 }, steps: 4 });
  const output = `${config.output}-flags`;
  const flags = ['--model', config.model as string, '--data', config.data as string, '--output', output];
  const run = ['--batch', '20', '--chunk-sequences', '8', '--steps', '4', '--device', 'cpu', '--lr', '1e-2'];
  const memory = ['--memory', '30', '--memory-start', '2', '--memory-momentum', '0.5'];
  const { code, stderr } = await gradcache(['train', ...flags, ...run, ...memory]);
  assert.equal(code, 0, stderr);
  const lines = (await readFile(join(output, 'metrics.jsonl'), 'utf8')).trim().split('\n');
  const losses = lines.map((line) => JSON.parse(line) as { type: string; loss: number });
  assert.deepEqual(
    losses.filter(({ type }) => type === 'step').map(({ loss }) => loss),
    steps.map(({ loss }) => loss),
  );
  for (const wrong of [{}, { capacity: 0 }, { capacity: 5, momentum: 2 }, { capacity: 5, size: 1 }, 5])
    await assert.rejects(record({ ...config, memory: wrong as never }), {
      code: 'INPUT',
      message: /config\.memory/,
    });
});
