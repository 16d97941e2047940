import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { train } from '../../lib/training/train.js';
import { gradcache } from '../cli/program.js';
import { digests, pairs, record, saveTinyModel, shortRun, writeRows } from './support.js';

test('a run has a guide judge its batches, by its configuration or by flags, and goes on from a checkpoint', async (t) => {
  const { folder, config } = await shortRun(t);
  const guide = await saveTinyModel(join(folder, 'guide'));
  const loss = { kind: 'gist-embed', guide, temperature: 0.1, margin: 0.05 } as const;
  const model = (output: string) => digests(join(output, 'model'));
  const { steps } = await record({ ...config, checkpoint: { every: 3 }, loss });
  assert.ok(steps.at(-1)!.loss < steps[0]!.loss, steps.map((step) => step.loss).join());
  assert.equal(steps[0]!.temperature, 0.1);
  const expected = await model(config.output);
  const resumed = join(folder, 'resumed');
  await train({ output: resumed, resume: join(config.output, 'checkpoint-3') });
  assert.deepEqual(await model(resumed), expected);
  const by = async (name: string, guide: string) => {
    const output = join(folder, name);
    const { code, stderr } = await gradcache([
      ...['train', '--model', config.model as string, '--data', config.data as string, '--output', output],
      ...['--batch', '20', '--chunk-sequences', '8', '--steps', '6', '--device', 'cpu', '--lr', '1e-2'],
      ...['--loss', 'gist-embed', '--loss.guide', guide, '--temperature', '0.1', '--loss.margin', '0.05'],
    ]);
    assert.equal(code, 0, stderr);
    return model(output);
  };
  assert.deepEqual(await by('flags', guide), expected);
  assert.notDeepEqual(await by('self', 'self'), expected);
  const other = train({
    output: join(folder, 'other'),
    resume: join(config.output, 'checkpoint-3'),
    loss: { guide: 'self' } as never,
  });
  await assert.rejects(other, { code: 'INPUT', message: /loss\.guide was ".*guide", now "self"/ });
});

test('a guide that is missing or no model is told by its setting', async (t) => {
  const base = { model: 'm', data: 'pairs.jsonl', output: 'out', batch: 64 };
  for (const [loss, message] of [
    [{}, /config\.loss\.guide is missing: give the model folder of a guide, or "self"/],
    [{ guide: 'self', threshold: 0.9, margin: 0.1 }, /config\.loss\.margin is 0\.1; 0, beside a threshold/],
    [{ guide: 'self', marginStrategy: 'no' }, /config\.loss\.marginStrategy is "no"/],
  ] as const)
    assert.throws(() => readTrainConfig({ ...base, loss: { kind: 'gist-embed', ...loss } }), {
      code: 'INPUT',
      message,
    });
  const { folder, config } = await shortRun(t);
  const nowhere = join(folder, 'nowhere');
  await assert.rejects(train({ ...config, loss: { kind: 'gist-embed', guide: nowhere } }), {
    message: /nowhere/,
  });
});

test('the other losses of whole batches train by flags', async (t) => {
  const { folder, config } = await shortRun(t);
  for (const [loss, ...flags] of [
    ['mega-batch-margin', '--loss.positiveMargin', '0.9', '--loss.negativeMargin', '0.1'],
    ['gist-embed', '--loss.guide', 'self', '--loss.threshold', '0.9', '--no-loss.contrastAnchors'],
  ]) {
    const output = join(folder, loss!);
    const { code, stderr } = await gradcache([
      ...['train', '--model', config.model as string, '--data', config.data as string, '--output', output],
      ...['--batch', '20', '--steps', '2', '--device', 'cpu', '--loss', loss!, ...flags],
    ]);
    assert.equal(code, 0, stderr);
  }
});

test('rows that share a text are no negatives of each other where a run masks duplicates', async (t) => {
  const { folder, config } = await shortRun(t);
  // Each anchor has two positives, in rows of their own.
  const rows = pairs(20).flatMap(({ anchor, positive }) => [
    { anchor, positive },
    { anchor, positive: `it is ${positive}` },
  ]);
  const data = await writeRows(join(folder, 'doubled.jsonl'), rows);
  const losses: Record<string, number> = {};
  for (const kind of ['infonce', 'multiple-negatives-ranking', 'gist-embed'] as const)
    for (const maskDuplicates of [false, true]) {
      const loss = { kind, maskDuplicates, ...(kind === 'gist-embed' && { guide: 'self', threshold: 2 }) };
      const output = join(folder, `${kind}-${maskDuplicates}`);
      const settings = { ...config, data, output, batch: 40, steps: 1, dropout: 0, uniqueTexts: false };
      const { steps } = await record({ ...settings, loss: loss as never });
      losses[`${kind} ${maskDuplicates}`] = steps[0]!.loss;
    }
  for (const kind of ['infonce', 'multiple-negatives-ranking', 'gist-embed'])
    assert.ok(losses[`${kind} true`]! < losses[`${kind} false`]!, JSON.stringify(losses));
  const settings = { loss: { maskDuplicates: true, labelSmoothing: 0.1 } };
  const message = /config\.loss\.labelSmoothing is 0\.1; 0, beside/;
  assert.throws(() => readTrainConfig({ ...config, ...settings }), { code: 'INPUT', message });
});

test('many questions of one document: its rows are in one batch, and leave each other out of their denominators', async (t) => {
  const { folder, config } = await shortRun(t);
  // Six questions about each of four documents: put apart, they would be batches of four.
  const rows = pairs(24).map(({ anchor }, row) => ({ anchor, positive: `document ${row % 4}` }));
  const data = await writeRows(join(folder, 'questions.jsonl'), rows);
  const run = { ...config, data, batch: 24, steps: 1, shuffle: false, dropout: 0 };
  const { steps } = await record({ ...run, loss: { maskDuplicates: true } });
  assert.equal(steps[0]!.pairs, 24);
  const model = await TextEncoder.load(config.model as string, { device: 'cpu' });
  const [anchors, positives] = await Promise.all(
    [rows.map(({ anchor }) => anchor), rows.map(({ positive }) => positive)].map(async (texts) => {
      const encoded = await model.encode(texts);
      const values = Array.from((await encoded.values()) as Float32Array);
      encoded.dispose();
      return texts.map((_, row) => {
        const own = values.slice(row * model.dimension, (row + 1) * model.dimension);
        return own.map((value) => value / Math.hypot(...own));
      });
    }),
  );
  model.dispose();
  const score = (row: number, other: number): number =>
    anchors![row]!.reduce((sum, value, k) => sum + value * positives![other]![k]!, 0) / 0.05;
  let sum = 0;
  for (const [row, { positive }] of rows.entries()) {
    const others = rows.flatMap((other, place) =>
      place === row || other.positive !== positive ? [Math.exp(score(row, place))] : [],
    );
    sum += Math.log(others.reduce((a, b) => a + b)) - score(row, row);
  }
  assert.ok(Math.abs(steps[0]!.loss - sum / 24) < 1e-4, `${steps[0]!.loss} and ${sum / 24}`);
});
