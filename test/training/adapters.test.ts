import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/index.js';
import { gradcache } from '../cli/program.js';
import { digests, pairs, record, shortRun, temporaryFolder, TINY_CONFIG, writeRows } from './support.js';

test('a run trains adapters, writes them alone, and goes on from a checkpoint bit for bit', async (t) => {
  const { folder, config } = await shortRun(t);
  const settings = {
    ...config,
    optimizer: { lr: 5e-2 },
    lora: { rank: 4, alpha: 8, dropout: 0.1, targetModules: 'all-linear', bias: 'lora_only' },
    frozen: ['layers.0-0'],
    checkpoint: { every: 3 },
  } as const;
  const { steps } = await record(settings);
  assert.ok(steps.at(-1)!.loss < steps[0]!.loss, 'the loss falls');
  const path = join(config.output, 'model');
  const finished = await digests(path);
  assert.ok('adapter_model.safetensors' in finished && !('model.safetensors' in finished));
  const stated = JSON.parse(await readFile(join(path, 'adapter_config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.deepEqual(
    [stated['r'], stated['lora_alpha'], stated['base_model_name_or_path']],
    [4, 8, config.model],
  );
  using model = await TextEncoder.load(path);
  const trained = new Set(model.parameters().map(({ name }) => name));
  assert.ok(trained.has('encoder.layer.1.output.dense.lora_A.weight'));
  assert.ok(trained.has('encoder.layer.1.output.dense.bias') && !trained.has('embeddings.LayerNorm.bias'));

  const again = join(folder, 'again');
  await record({ ...settings, output: again });
  assert.deepEqual(await digests(join(again, 'model')), finished, 'the same run, bit for bit');
  await rm(join(again, 'checkpoint-6'), { recursive: true });
  await record({ output: again, resume: join(again, 'checkpoint-3') });
  assert.deepEqual(await digests(join(again, 'model')), finished, 'resumed, bit for bit');
  await assert.rejects(
    record({ output: again, resume: true, lora: { rank: 3 } }),
    /config\.lora\.rank was 4, now 3/,
  );
});

test('adapters are wanted of a model that is trained, and of a text encoder', async (t) => {
  const { config } = await shortRun(t);
  const tokenizer = 'nowhere.json';
  await assert.rejects(
    record({ ...config, model: { config: TINY_CONFIG, tokenizer }, lora: {} }),
    /config\.lora adapts a model that is trained/,
  );
  await assert.rejects(
    record({ ...config, loss: { kind: 'cross-encoder-ranking' }, lora: {} }),
    /config\.lora is for text encoders/,
  );
  await assert.rejects(record({ ...config, lora: { rank: 'two' as never } }), /config\.lora\.rank is "two"/);
  await assert.rejects(record({ ...config, lora: { dora: true } as never }), /DoRA/);
  await assert.rejects(record({ ...config, lora: { targetModules: ['quary'] } }), /"quary"/);
});

test('the command line trains adapters by flags, and other commands open them', async (t) => {
  const { config } = await shortRun(t);
  const data = await writeRows(join(await temporaryFolder(t), 'held.jsonl'), pairs(20));
  const flags = [
    '--lora-rank',
    '2',
    '--lora-alpha',
    '3',
    '--lora-target-modules',
    'query,dense',
    '--lora-layers',
    '1',
  ];
  const run = [
    '--model',
    config.model as string,
    '--data',
    data,
    '--batch',
    '8',
    '--steps',
    '2',
    '--device',
    'cpu',
  ];
  const trained = await gradcache(['train', ...run, '--output', config.output, ...flags]);
  assert.equal(trained.code, 0, trained.stderr);
  const model = join(config.output, 'model');
  const stated = JSON.parse(await readFile(join(model, 'adapter_config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.deepEqual(stated['target_modules'], [
    'encoder.layer.1.attention.self.query',
    'encoder.layer.1.attention.output.dense',
    'encoder.layer.1.intermediate.dense',
    'encoder.layer.1.output.dense',
  ]);
  const evaluated = await gradcache(['evaluate', '--model', model, '--data', data, '--device', 'cpu']);
  assert.equal(evaluated.code, 0, evaluated.stderr);
});
