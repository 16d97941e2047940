import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { evaluateRetrieval } from '../../lib/evaluation/retrieval.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import { readRetrievalPairs } from '../../lib/evaluation/tasks.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { train } from '../../lib/training/train.js';
import { gradcache } from '../cli/program.js';
import { digests, record, shortRun } from './support.js';

test('a run trains several lengths, by its configuration or by flags, and goes on as one that was not interrupted', async (t) => {
  const { config } = await shortRun(t);
  const settings = {
    ...config,
    checkpoint: { every: 3 },
    matryoshka: { dimensions: [16, 8, 4], weights: [1, 1, 2], dimensionsPerStep: 2 },
  };
  const model = (output: string) => digests(join(output, 'model'));
  await record(settings);
  const expected = await model(config.output);
  const resumed = `${config.output}-resumed`;
  const again = await record({ output: resumed, resume: join(config.output, 'checkpoint-3') });
  assert.equal(again.steps.length, 3);
  assert.deepEqual(await model(resumed), expected);
  const plain = `${config.output}-plain`;
  await record({ ...config, output: plain });
  assert.notDeepEqual(await model(plain), expected);

  const output = `${config.output}-flags`;
  const { code, stderr } = await gradcache([
    ...['train', '--model', config.model as string, '--data', config.data as string, '--output', output],
    ...['--batch', '20', '--chunk-sequences', '8', '--steps', '6', '--device', 'cpu', '--lr', '1e-2'],
    ...['--matryoshka', '16,8,4', '--matryoshka-weights', '1,1,2', '--matryoshka-per-step', '2'],
  ]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(await model(output), expected);
});

test('held-out data is measured at each length that is asked for', async (t) => {
  const { config } = await shortRun(t);
  const data = config.data as string;
  const { events } = await record({
    ...config,
    steps: 2,
    matryoshka: { dimensions: [8, 2] },
    evaluation: { data, dimensions: [2, 8] },
  });
  const note = events.find((event) => event.type === 'note');
  assert.match(note!.message, /whole length of representations, 16, is not one of the matryoshka dimensions/);
  const { scores } = events.find((event) => event.type === 'evaluation')!;
  const encoder = await TextEncoder.load(join(config.output, 'model'));
  const task = await readRetrievalPairs(data);
  for (const [suffix, dimensions] of [
    ['', undefined],
    ['/2', 2],
    ['/8', 8],
  ] as const) {
    const alone = flattenScores(await evaluateRetrieval(encoder, task, { dimensions }));
    for (const [name, value] of Object.entries(alone))
      assert.equal(scores[name + suffix], value, name + suffix);
  }
  encoder.dispose();
});

test('lengths that do not fit are refused, those beyond the model before anything is trained', async (t) => {
  const base = { model: 'm', data: 'pairs.jsonl', output: 'out', batch: 64 };
  for (const [matryoshka, message] of [
    [{}, /config\.matryoshka\.dimensions is missing/],
    [{ dimensions: 64 }, /config\.matryoshka\.dimensions is 64; a list of numbers/],
    [{ dimensions: [64, 0] }, /config\.matryoshka\.dimensions\[1\] is 0; a whole number from 1/],
    [{ dimensions: [64, 64] }, /a list of different lengths/],
    [{ dimensions: [64, 32], weights: [1] }, /config\.matryoshka\.weights is \[1\]; a list of 2 weights/],
    [{ dimensions: [64, 32], weights: [1, -1] }, /config\.matryoshka\.weights\[1\] is -1/],
    [{ dimensions: [64, 32], dimensionsPerStep: 3 }, /dimensionsPerStep is 3; a whole number from 1 to 2/],
    [{ dimension: [64] }, /config\.matryoshka\.dimension/],
  ] as const)
    assert.throws(() => readTrainConfig({ ...base, matryoshka }), { code: 'INPUT', message });
  const { config } = await shortRun(t);
  for (const [settings, message] of [
    [
      { matryoshka: { dimensions: [8, 32] } },
      /config\.matryoshka\.dimensions\[1\] is 32, and .* have 16 numbers/,
    ],
    [
      { evaluation: { data: config.data as string, dimensions: [17] } },
      /config\.evaluation\.dimensions\[0\] is 17/,
    ],
  ] as const)
    await assert.rejects(train({ ...config, ...settings }), { code: 'INPUT', message });
});
