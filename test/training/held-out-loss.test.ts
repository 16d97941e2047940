import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { coSENT, GradCache, infoNCE, TextEncoder, train, type TrainConfig } from '../../lib/index.js';
import { parseFlags } from '../../lib/cli/parse-flags.js';
import { TRAIN_SECTIONS } from '../../lib/cli/train-flags.js';
import { settingsOf } from '../../lib/cli/train-settings.js';
import { pairs, shortRun, writeRows } from './support.js';

const column = (rows: readonly Record<string, unknown>[], name: string): string[] =>
  rows.map((row) => row[name] as string);

test('the loss of held-out batches is a score, beside those of a task or alone', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(30);
  const data = await writeRows(join(folder, 'held.jsonl'), rows);
  const scoresOf = async (output: string, evaluation: TrainConfig['evaluation']) => {
    const { scores } = await train({
      ...config,
      steps: 2,
      output: join(folder, output),
      evaluation: evaluation!,
    });
    return scores!;
  };
  const alone = await scoresOf('a', { data, loss: true });
  assert.deepEqual(Object.keys(alone), ['loss']);
  const both = await scoresOf('b', { data, loss: true, task: 'retrieval' });
  assert.equal(both['loss'], alone['loss']);
  assert.ok('mrr@10' in both, Object.keys(both).join());
  const renamed = await writeRows(
    join(folder, 'renamed.jsonl'),
    rows.map(({ anchor, positive }) => ({ q: anchor, p: positive })),
  );
  assert.deepEqual(await scoresOf('c', { data: renamed, columns: ['q', 'p'], loss: true }), alone);
  // By hand: batches of 20 and 10 rows, in the order of the file, without dropout.
  const model = await TextEncoder.load(join(folder, 'a', 'model'), { device: 'cpu' });
  const gradcache = new GradCache({ encoders: [model, model], loss: infoNCE(), chunk: { sequences: 8 } });
  let sum = 0;
  for (const part of [rows.slice(0, 20), rows.slice(20)]) {
    const inputs = [column(part, 'anchor'), column(part, 'positive')].map((texts) =>
      model.tokenize(texts, { prompt: '' }),
    );
    sum += part.length * (await gradcache.lossOf(inputs));
  }
  assert.ok(Math.abs(sum / 30 - alone['loss']!) < 1e-6, `${sum / 30}, told ${alone['loss']}`);
  model.dispose();
});

test('held-out rows have the labels of the training', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(40).map(({ anchor, positive }, row) => ({
    sentence1: anchor,
    sentence2: positive,
    score: (row % 5) / 4,
  }));
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const run = {
    ...config,
    data,
    steps: 2,
    loss: { kind: 'cosent' } as const,
    evaluation: { data, loss: true, every: 1 },
  };
  const told: number[] = [];
  const { scores } = await train(run, {
    onEvent: (event) => {
      if (event.type === 'evaluation') told.push(event.scores['loss']!);
    },
  });
  assert.equal(told.length, 2);
  assert.equal(told[1], scores!['loss']);
  const model = await TextEncoder.load(join(config.output, 'model'), { device: 'cpu' });
  const gradcache = new GradCache({ encoders: [model, model], loss: coSENT() });
  let sum = 0;
  for (const part of [rows.slice(0, 20), rows.slice(20)]) {
    const inputs = [column(part, 'sentence1'), column(part, 'sentence2')].map((texts) =>
      model.tokenize(texts, { prompt: '' }),
    );
    sum += await gradcache.lossOf(inputs, { loss: { labels: part.map(({ score }) => score) } });
  }
  assert.ok(Math.abs(sum / 2 - scores!['loss']!) < 1e-5, `${sum / 2}, told ${scores!['loss']}`);
  model.dispose();
  const unlabelled = await writeRows(
    join(folder, 'unlabelled.jsonl'),
    pairs(4).map(({ anchor, positive }) => ({ sentence1: anchor, sentence2: positive })),
  );
  await assert.rejects(
    train({ ...run, output: join(folder, 'b'), evaluation: { data: unlabelled, loss: true } }),
    {
      code: 'INPUT',
      message: /unlabelled\.jsonl, line 1: it has no label "score"/,
    },
  );
  await assert.rejects(
    train({ ...run, output: join(folder, 'c'), evaluation: { data, loss: true, columns: ['sentence1'] } }),
    {
      code: 'INPUT',
      message: /^config\.evaluation\.columns is \["sentence1"\]; 2 columns for the loss is needed/,
    },
  );
});

test('faults of held-out rows name the settings of held-out data', async (t) => {
  const { folder, config } = await shortRun(t);
  const faulty = async (name: string, text: string, message: RegExp) => {
    const data = join(folder, name);
    await writeFile(data, text);
    await assert.rejects(
      train({ ...config, steps: 1, output: join(folder, `${name}-run`), evaluation: { data, loss: true } }),
      (error: Error) =>
        message.test(error.message) && !/[^.-]columns, --columns|--no-header/.test(error.message),
    );
  };
  await faulty('other.csv', 'a,b\nx,y\n', /no column.*--eval-columns.*--no-eval-header.*--eval-fields/);
  await faulty('bad.csv', 'anchor,positive\nx,\n', /line 2.*--eval-columns/);
  await faulty('unknown.dat', 'x', /--eval-format/);
});

test('--eval-loss measures the loss alone, or beside --eval-task', () => {
  const flags = Object.assign({}, ...Object.values(TRAIN_SECTIONS)) as (typeof TRAIN_SECTIONS)[string];
  const read = (...args: string[]) => settingsOf(parseFlags(flags, args), {})['evaluation'];
  assert.deepEqual(read('--eval-loss', '--eval-data', 'held.jsonl'), { loss: true, data: 'held.jsonl' });
  assert.deepEqual(read('--eval-loss', '--eval-task', 'sts'), { loss: true, task: 'sts' });
});
