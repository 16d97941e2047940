import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { train } from '../../lib/training/train.js';
import { gradcache } from '../cli/program.js';
import { digests, record, shortRun } from './support.js';

test('a run trains several layers and lengths, by its configuration or by flags, and goes on as one that was not interrupted', async (t) => {
  const { config } = await shortRun(t);
  const settings = {
    ...config,
    checkpoint: { every: 3 },
    matryoshka: { dimensions: [16, 8, 4], dimensionsPerStep: 1 },
    adaptiveLayer: { layersPerStep: 1, klWeight: 0.5, layerWeighting: 'log' as const },
    evaluation: { loss: true, data: config.data as string },
  };
  const model = (output: string) => digests(join(output, 'model'));
  const { events } = await record(settings);
  const { scores } = events.find((event) => event.type === 'evaluation')!;
  assert.ok(Object.values(scores).every(Number.isFinite));
  const expected = await model(config.output);
  const resumed = `${config.output}-resumed`;
  const resume = join(config.output, 'checkpoint-3');
  const again = await record({ output: resumed, resume });
  assert.equal(again.steps.length, 3);
  assert.deepEqual(await model(resumed), expected);
  await assert.rejects(train({ output: `${resumed}-2`, resume, adaptiveLayer: { klWeight: 1 } }), {
    code: 'INPUT',
    message: /adaptiveLayer\.klWeight was 0\.5, now 1/,
  });
  const encoder = await TextEncoder.load(join(config.output, 'model'));
  assert.deepEqual(encoder.layers.length, 1, 'the folder is that of an ordinary model');

  const output = `${config.output}-flags`;
  const { code, stderr } = await gradcache([
    ...['train', '--model', config.model as string, '--data', config.data as string, '--output', output],
    ...['--batch', '20', '--chunk-sequences', '8', '--steps', '6', '--device', 'cpu', '--lr', '1e-2'],
    ...['--matryoshka', '16,8,4', '--matryoshka-per-step', '1', '--adaptive-layer', 'all'],
    ...['--adaptive-layer-per-step', '1', '--adaptive-layer-kl', '0.5', '--adaptive-layer-weighting', 'log'],
  ]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(await model(output), expected);
});

test('settings of layers that do not fit are refused', async (t) => {
  const { config } = await shortRun(t);
  const base = { model: 'model', data: 'data', output: 'output', batch: 4 };
  for (const [adaptiveLayer, message] of [
    [{ layers: 'some' }, /config\.adaptiveLayer\.layers is "some"; "all" or a list of numbers/],
    [{ layers: [1, 1] }, /config\.adaptiveLayer\.layers is \[1,1\]; a list of different layers/],
    [{ layers: [-1] }, /config\.adaptiveLayer\.layers\[0\] is -1/],
    [{ layersPerStep: 0 }, /config\.adaptiveLayer\.layersPerStep is 0/],
    [{ layerWeighting: 'cubic' }, /config\.adaptiveLayer\.layerWeighting is "cubic"/],
    [{ kl: 1 }, /config\.adaptiveLayer\.kl is not a setting/],
  ] as const)
    assert.throws(() => readTrainConfig({ ...base, adaptiveLayer }), { code: 'INPUT', message });
  assert.throws(() => readTrainConfig({ ...base, adaptiveLayer: {}, memory: { capacity: 8 } }), {
    code: 'INPUT',
    message: /config\.adaptiveLayer is for batches without a memory/,
  });
  for (const [adaptiveLayer, message] of [
    [
      { layers: [0], layersPerStep: 2 },
      /config\.adaptiveLayer\.layersPerStep is 2, and the run trains 1 layer/,
    ],
    [{ layers: [99] }, /layers\[0\] is 99; a whole number from 0 to/],
    [{ layers: 'all', layersPerStep: 99 }, /config\.adaptiveLayer\.layersPerStep is 99/],
  ] as const)
    await assert.rejects(train({ ...config, adaptiveLayer }), { code: 'INPUT', message });
});
