import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { evaluateRetrieval, readRetrievalPairs, TextEncoder } from '../../lib/index.js';
import { digests, pairs, record, root, shortRun, TINY_CONFIG, writeRows } from './support.js';
import { trainCommand } from '../../lib/cli/train.js';
import { gradcache, runCommand } from '../cli/program.js';

const RANKING = { kind: 'multi-vector-multiple-negatives-ranking' } as const;

test('a run makes a model that pools one of late interaction, trains and measures it, and goes on from a checkpoint', async (t) => {
  const { folder, config } = await shortRun(t);
  const held = await writeRows(join(folder, 'held.jsonl'), pairs(20));
  const settings = {
    ...config,
    steps: 6,
    pooling: 'none',
    lateInteraction: { projection: 8, queryLength: 7, skippedWords: ['that'] },
    loss: RANKING,
    evaluation: { data: held, every: 3 },
    checkpoint: { every: 3 },
  } as const;
  const { steps, events } = await record(settings);
  assert.ok(steps.at(-1)!.loss < steps[0]!.loss, 'the loss falls');
  assert.equal(steps[0]!.temperature, null);
  const measured = events.filter((event) => event.type === 'evaluation');
  const path = join(config.output, 'model');
  const model = await TextEncoder.load(path);
  assert.deepEqual([model.perToken, model.dimension, model.similarity], [true, 8, 'maxsim']);
  const scores = await evaluateRetrieval(model, await readRetrievalPairs(held), {
    prompts: { query: '', document: '' },
  });
  assert.equal((measured.at(-1) as { scores: Record<string, number> }).scores['ndcg@10'], scores.ndcg10);
  const saved = JSON.parse(await readFile(join(path, 'sentence_bert_config.json'), 'utf8')) as object;
  assert.equal((saved as { query_length: number }).query_length, 7);

  const finished = await digests(path);
  await record({ ...settings, output: join(folder, 'again') });
  assert.deepEqual(await digests(join(folder, 'again', 'model')), finished, 'the same run, bit for bit');
  await rm(join(folder, 'again', 'checkpoint-6'), { recursive: true });
  await record({ output: join(folder, 'again'), resume: join(folder, 'again', 'checkpoint-3') });
  assert.deepEqual(await digests(join(folder, 'again', 'model')), finished, 'resumed, bit for bit');
});

test('a run distils the scores of a teacher, token by token', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(40).map((row, k) => ({
    ...row,
    negative: pairs(41)[k + 1]!.positive,
    label: [3, k % 2],
  }));
  const data = await writeRows(join(folder, 'taught.jsonl'), rows);
  for (const kind of ['multi-vector-distill-kl-div', 'multi-vector-margin-mse'] as const) {
    const { steps } = await record({
      ...config,
      data,
      columns: ['anchor', 'positive', 'negative'],
      label: 'label',
      output: join(folder, kind),
      pooling: 'none',
      loss: { kind, similarity: 'meanmaxsim' },
      dropout: 0,
      steps: 12,
    });
    const losses = steps.map(({ loss }) => loss);
    const mean = (some: number[]): number => some.reduce((sum, loss) => sum + loss) / some.length;
    assert.ok(mean(losses.slice(-4)) < mean(losses.slice(0, 4)), `${kind}: ${losses.join()}`);
  }
});

test('a loss and a model that do not go together are refused, and settings that mean nothing', async (t) => {
  const { config } = await shortRun(t);
  const random = { config: TINY_CONFIG, tokenizer: join(root, 'examples', 'quickstart', 'tokenizer.json') };
  for (const [change, message] of [
    [{ loss: RANKING }, /loss\.kind.*token by token.*pooling: "none"/],
    [{ pooling: 'none' }, /loss\.kind.*"infonce".*one for each token.*multi-vector/],
    [{ pooling: 'cls' }, /config\.pooling is "cls"/],
    [{ lateInteraction: { projection: 0 }, pooling: 'none' }, /lateInteraction\.projection is 0/],
    [{ lateInteraction: { skippedIn: ['both'] }, pooling: 'none' }, /skippedIn/],
    [{ lateInteraction: { queryExpansion: {} }, pooling: 'none' }, /queryExpansion\.length/],
    [{ lateInteraction: { projection: 4 } }, /projection is 4.*pooling 'none'/],
    [{ loss: { ...RANKING, topK: 3 }, pooling: 'none' }, /loss\.topK is 3.*xtr/],
    [
      { loss: RANKING, pooling: 'none', evaluation: { task: 'sts', data: 'none.jsonl' } },
      /evaluation\.task is "sts"/,
    ],
    [{ model: { ...random, pooling: 'none' } }, /loss\.kind/],
  ] as const)
    await assert.rejects(record({ ...config, ...change } as never), { code: 'INPUT', message });
});

test('the command line makes, trains and measures such a model', async (t) => {
  const { folder, config } = await shortRun(t);
  const output = join(folder, 'cli');
  const flags = ['--pooling', 'none', '--projection', '8', '--query-length', '9', '--loss', RANKING.kind];
  const args = [
    'train',
    '--model',
    config.model as string,
    '--data',
    config.data as string,
    '--output',
    output,
  ];
  const trained = await gradcache([...args, '--batch', '20', '--steps', '2', '--loss.scale', '2', ...flags]);
  assert.equal(trained.code, 0, trained.stderr);
  const model = join(output, 'model');
  const measured = await gradcache(['evaluate', '--model', model, '--data', config.data as string, '--json']);
  assert.equal(measured.code, 0, measured.stderr);
  assert.ok((JSON.parse(measured.stdout) as Record<string, number>)['ndcg@10']! > 0);
  const wrong = await gradcache([
    'evaluate',
    '--model',
    model,
    '--data',
    config.data as string,
    '--similarity',
    'dot',
  ]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /maxsim/);
});

test('a length of queries or documents that the model cannot have is told by its flag', async (t) => {
  const { folder, config } = await shortRun(t);
  const given = ['--model', config.model as string, '--data', config.data as string, '--batch', '20'];
  const flags = [...given, '--device', 'cpu', '--steps', '1', '--pooling', 'none', '--loss', RANKING.kind];
  for (const [flag, length, needed] of [
    ['--query-length', '2', 'a whole number from 3'],
    ['--document-length', '2', 'a whole number from 3'],
    ['--query-length', '99', 'at most 32'],
  ] as const)
    await assert.rejects(runCommand(trainCommand, [...flags, '--output', join(folder, 'o'), flag, length]), {
      code: 'INPUT',
      message: new RegExp(`^${flag} is ${length}; ${needed}`),
    });
});
