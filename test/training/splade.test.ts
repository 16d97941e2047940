import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { train } from '../../lib/training/train.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { gradcache } from '../cli/program.js';
import { digests, pairs, record, root, shortRun, TINY_CONFIG, writeRows } from './support.js';

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');

test('a run trains a sparse encoder, measures it and goes on from its checkpoint', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'held-out.jsonl'), pairs(12));
  const given = {
    ...config,
    model: { config: TINY_CONFIG, tokenizer: TOKENIZER, pooling: 'splade' },
    loss: { kind: 'splade', documentRegularizerWeight: 1e-3, regularizerWarmup: 0.5 },
    checkpoint: { every: 3 },
    evaluation: { data },
  } as const;
  const { events, steps } = await record(given);
  const losses = steps.map((step) => step.loss);
  assert.ok(losses.at(-1)! < losses[0]!, losses.join());
  const measured = events.find((event) => event.type === 'evaluation');
  assert.ok(measured!.scores['document-active-dims']! > 0);
  const model = join(config.output, 'model');
  using saved = await TextEncoder.load(model);
  assert.deepEqual([saved.sparse, saved.similarity], [true, 'dot']);

  const resume = join(config.output, 'checkpoint-3');
  await train({ output: join(folder, 'again'), resume });
  assert.deepEqual(await digests(join(folder, 'again', 'model')), await digests(model));

  const flags = ['evaluate', '--model', model, '--data', data, '--device', 'cpu'];
  const { code, stdout, stderr } = await gradcache(flags);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /query-active-dims +\d/);
});

test('the weights of the regularisers grow in the first updates', async (t) => {
  const { folder, config } = await shortRun(t);
  const model = { config: TINY_CONFIG, tokenizer: TOKENIZER, pooling: 'splade' } as const;
  const run = async (name: string, loss: object) => {
    const output = join(folder, name);
    const given = { ...config, model, output, steps: 2, loss: { kind: 'splade', ...loss } };
    const { steps } = await record(given as never);
    return steps.map((step) => step.loss);
  };
  const strong = { documentRegularizerWeight: 10 };
  const none = await run('none', { documentRegularizerWeight: 0, queryRegularizerWeight: 0 });
  const grown = await run('grown', { ...strong, regularizerWarmup: 1 });
  const whole = await run('whole', { ...strong, regularizerWarmup: 0 });
  assert.equal(grown[0], none[0], 'the first update has none of them');
  assert.ok(grown[1]! > none[1]!, `${grown.join()} ${none.join()}`);
  assert.ok(whole[0]! > none[0]!);
});

test('a masked language model becomes a sparse encoder by the loss, and a dense model is refused', async (t) => {
  const { folder, config } = await shortRun(t);
  const encoder = TextEncoder.create(TINY_CONFIG, await Tokenizer.fromFile(TOKENIZER), { pooling: 'splade' });
  const sparse = join(folder, 'sparse');
  await encoder.save(sparse);
  encoder.dispose();
  // The same without the files of sentence-transformers.
  const plain = join(folder, 'plain');
  const { mkdir, copyFile } = await import('node:fs/promises');
  await mkdir(plain);
  for (const name of ['config.json', 'model.safetensors', 'tokenizer.json'])
    await copyFile(join(sparse, name), join(plain, name));

  const output = join(folder, 'by-flags');
  const flags = ['--model', plain, '--data', config.data as string, '--output', output];
  const run = ['--batch', '20', '--chunk-sequences', '8', '--steps', '2', '--device', 'cpu'];
  const loss = ['--loss', 'splade', '--loss.scale', '2', '--loss.useDocumentRegularizerOnly'];
  const { code, stderr } = await gradcache(['train', ...flags, ...run, ...loss]);
  assert.equal(code, 0, stderr);
  const modules = JSON.parse(await readFile(join(output, 'model', 'modules.json'), 'utf8')) as {
    type: string;
  }[];
  assert.ok(modules[1]!.type.endsWith('SpladePooling'));

  // What the loss asks for by itself can also be said.
  const said = {
    ...config,
    output: join(folder, 'said'),
    model: plain,
    pooling: 'splade',
    steps: 1,
  } as const;
  await train({ ...said, loss: { kind: 'splade' } });
  await assert.rejects(train({ ...said, output: join(folder, 'other'), pooling: 'cls' }), {
    code: 'INPUT',
    message: /pooling is "cls"; "none" or "splade"/,
  });

  for (const [model, kind, message] of [
    [config.model, 'splade', /loss\.kind is "splade", for sparse representations, and the model's are dense/],
    [sparse, 'infonce', /loss\.kind is "infonce", and the model is a sparse encoder: "splade"/],
  ] as const)
    await assert.rejects(train({ ...config, output: join(folder, 'no'), model, loss: { kind } }), {
      code: 'INPUT',
      message,
    });
});
