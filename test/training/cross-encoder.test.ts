import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { CrossEncoder } from '../../lib/encoders/cross-encoder.js';
import { evaluateReranking } from '../../lib/evaluation/reranking.js';
import { LOSSES } from '../../lib/losses/loss-kinds.js';
import type { LossKind } from '../../lib/losses/loss-kind.js';
import type { TrainEvent } from '../../lib/training/events.js';
import type { TrainConfig } from '../../lib/training/config.js';
import { train } from '../../lib/training/train.js';
import { headOf, pairRowsFor } from './loss-rows.js';
import { digests, pairs, record, root, saveTinyModel, shortRun, TINY_CONFIG, writeRows } from './support.js';

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');

type Loss = NonNullable<TrainConfig['loss']>;
const KINDS = (Object.entries(LOSSES) as unknown as [string, LossKind<never>][]).filter(
  ([, { pairs }]) => pairs !== undefined,
);

for (const [kind, about] of KINDS) {
  test(`a run with the loss ${kind} finds its columns and labels, trains a cross-encoder and saves it`, async (t) => {
    const { folder, config } = await shortRun(t);
    const data = await writeRows(join(folder, 'rows.jsonl'), pairRowsFor(about));
    const loss = { kind } as Loss;
    const { steps } = await record({ ...config, data, batch: 12, steps: 4, loss, newHead: headOf(about) });
    assert.equal(steps.length, 4);
    for (const step of steps) {
      assert.ok(Number.isFinite(step.loss) && step.gradNorm > 0, JSON.stringify(step));
      assert.equal(step.temperature, null);
    }
    using model = await CrossEncoder.load(join(config.output, 'model'));
    assert.equal(model.labels, headOf(about));
    const other = about.pairs!.labels === 'one' ? 3 : 1;
    const output = join(folder, 'other');
    await assert.rejects(train({ ...config, output, data, batch: 12, steps: 1, loss, newHead: other }), {
      code: 'INPUT',
      message: new RegExp(`has ${other} labels?; the loss ${kind} needs a model with`),
    });
  });
}

test('a model without a head for pairs is told with the setting that makes one', async (t) => {
  const { folder, config } = await shortRun(t);
  const bare = await saveTinyModel(join(folder, 'bare'));
  await rm(join(bare, 'modules.json'));
  for (const model of [config.model, bare])
    await assert.rejects(train({ ...config, model, loss: { kind: 'cross-encoder-ranking' } }), {
      code: 'INPUT',
      message: /^config\.newHead is not given, and .* has no head for pairs\. Give the number of labels/,
    });
});

test('a resumed run draws the negatives of one that was not interrupted, and others in each epoch', async (t) => {
  const { folder, config } = await shortRun(t);
  const loss: Loss = { kind: 'cross-encoder-ranking', negatives: 2 };
  const run: TrainConfig = {
    ...config,
    loss,
    model: { config: TINY_CONFIG, tokenizer: TOKENIZER },
    batch: 20,
    steps: 6,
    checkpoint: { every: 3, keep: 5 },
  };
  const whole = await record(run);
  const again = { ...run, output: join(folder, 'again') };
  const controller = new AbortController();
  const onEvent = (event: TrainEvent) =>
    void (event.type === 'step' && event.step === 4 && controller.abort());
  await assert.rejects(train(again, { signal: controller.signal, onEvent }), { code: 'ABORTED' });
  await train({ output: again.output, resume: true });
  assert.deepEqual(await digests(join(again.output, 'model')), await digests(join(run.output, 'model')));
  // Each anchor with its positive and two negatives.
  assert.ok(whole.steps.every((step) => step.pairs === 60));
  await assert.rejects(train({ output: again.output, resume: true, loss: { ...loss, negatives: 3 } }), {
    code: 'INPUT',
    message: /loss.negatives/,
  });
});

test('a run learns to rank, measured by held-out candidates', async (t) => {
  const { folder, config } = await shortRun(t);
  const held = pairs(24).map(({ anchor, positive }, row, all) => ({
    query: anchor,
    positive,
    negative: [1, 2, 3, 4].map((k) => all[(row + 5 * k) % 24]!.positive),
  }));
  const data = await writeRows(join(folder, 'held.jsonl'), held);
  const run: TrainConfig = {
    ...config,
    loss: { kind: 'cross-encoder-ranking' },
    newHead: 1,
    dropout: 0,
    evaluation: { data, every: 2 },
    prompts: { anchor: { prefix: 'find ' } },
  };
  const { events, steps } = await record({ ...run, steps: 4 });
  assert.ok(steps.at(-1)!.loss < steps[0]!.loss, `${steps[0]!.loss}, ${steps.at(-1)!.loss}`);
  const measured = events.filter((event) => event.type === 'evaluation');
  assert.deepEqual(
    measured.map(({ step }) => step),
    [2, 4],
  );
  using model = await CrossEncoder.load(join(config.output, 'model'));
  assert.deepEqual(model.prompts, { query: 'find ' });
  const queries = held.map((query) => ({ ...query, positive: [query.positive] }));
  const scores = await evaluateReranking(model, { queries }, { prompt: 'query' });
  assert.deepEqual(Object.keys(measured[1]!.scores), ['map', 'mrr@10', 'ndcg@10']);
  assert.ok(Math.abs(measured[1]!.scores['map']! - scores.map) < 1e-6);
});

test('the loss of held-out rows is measured by the same pairs each time', async (t) => {
  for (const kind of ['cross-encoder-ranking', 'list-net'] as const) {
    const { folder, config } = await shortRun(t);
    const data = await writeRows(join(folder, 'rows.jsonl'), pairRowsFor(LOSSES[kind] as never));
    const still = { lr: 1e-30, weightDecay: 0 };
    const run = { ...config, data, batch: 12, steps: 2, newHead: 1, optimizer: still, loss: { kind } };
    const { events } = await record({ ...run, evaluation: { data, loss: true, every: 1 } });
    const losses = events.flatMap((event) => (event.type === 'evaluation' ? [event.scores['loss']!] : []));
    assert.equal(losses.length, 2);
    assert.ok(losses[0]! > 0 && Math.abs(losses[0]! - losses[1]!) < 1e-6, `${losses.join()}`);
  }
});

test('documents come from a column of lists or from columns, in JSON lines and CSV, and labels must fit them', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairRowsFor(LOSSES['list-net'] as never) as {
    query: string;
    documents: string[];
    labels: number[];
  }[];
  const run = {
    ...config,
    batch: 12,
    steps: 2,
    loss: { kind: 'list-net' } as const,
    newHead: 1,
    shuffle: false,
  };
  const losses = async (name: string, given: Partial<TrainConfig>) =>
    (await record({ ...run, output: join(folder, name), ...given })).steps.map(({ loss }) => loss);
  const jsonl = await writeRows(join(folder, 'lists.jsonl'), rows);
  const expected = await losses('jsonl', { data: jsonl });
  const field = (value: unknown) => `"${JSON.stringify(value).replaceAll('"', '""')}"`;
  const lines = rows.map(({ query, documents, labels }) =>
    [query, field(documents), field(labels)].join(','),
  );
  const csv = join(folder, 'lists.csv');
  await writeFile(csv, ['query,documents,labels', ...lines].join('\n'));
  assert.deepEqual(await losses('csv', { data: csv }), expected);
  const two = rows.map(({ query, documents, labels }) => ({
    query,
    documents: [documents[0]!, 'a stone'],
    first: documents[0],
    second: 'a stone',
    labels: [labels[0], 0],
  }));
  const tuples = await writeRows(join(folder, 'tuples.jsonl'), two);
  assert.deepEqual(
    await losses('columns', { data: tuples, columns: ['query', 'first', 'second'] }),
    await losses('lists', { data: tuples }),
  );
  const refused = async (row: object, message: RegExp) => {
    const data = await writeRows(join(folder, 'wrong.jsonl'), [...rows, { ...rows[0], ...row }]);
    await assert.rejects(losses('wrong', { data, batch: 25, steps: 1 }), { message });
  };
  await refused({ documents: 'a text' }, /line 25: "documents" is "a text", not a list of texts/);
  await refused({ documents: ['', 'b'] }, /line 25: "documents" is \["","b"\], not a list of texts/);
  await refused({ documents: undefined }, /line 25: it has no "documents"/);
  await refused({ labels: [1, 2, 3] }, /line 25: the label "labels" is \[1,2,3\], not a list of 1 number\./);
});

test('settings that do nothing with a cross-encoder, or with a text encoder, are refused', async (t) => {
  const { folder, config } = await shortRun(t);
  const run: TrainConfig = { ...config, loss: { kind: 'cross-encoder-ranking' }, newHead: 1 };
  const refused = (given: object, message: RegExp) =>
    assert.rejects(train({ ...run, ...given }), { code: 'INPUT', message });
  await refused({ matryoshka: { dimensions: [4] } }, /config.matryoshka is for representations/);
  await refused({ memory: { capacity: 4 } }, /config.memory .* cross-encoder-ranking takes none/);
  await refused({ lateInteraction: { projection: 4 } }, /config.lateInteraction is for representations/);
  await refused({ pooling: 'none' }, /config.pooling is for text encoders/);
  await refused({ curriculum: { from: 4, over: 2, tokens: 9 } }, /config.curriculum is for text encoders/);
  await refused(
    { prompts: { positive: { prefix: 'a ' } } },
    /config.prompts.positive is for another column than anchor/,
  );
  await refused(
    { evaluation: { task: 'triplets', data: 'x' } },
    /config.evaluation.task is "triplets"; "reranking"/,
  );
  await refused(
    { evaluation: { data: 'x', columns: ['a', 'b'] } },
    /evaluation.columns is for files with columns; reranking/,
  );
  await refused(
    { model: { config: TINY_CONFIG, tokenizer: 't', pooling: 'cls' } },
    /config.model.pooling is for text encoders/,
  );
  await refused({ loss: { kind: 'infonce' } }, /config.newHead is for the losses of cross-encoders/);
  const { newHead: _, ...headless } = run;
  await assert.rejects(train({ ...headless, output: join(folder, 'x') }), {
    code: 'INPUT',
    message: /config\.newHead is not given/,
  });
  await assert.rejects(
    train({ ...run, newHead: 1, frozen: ['embeddings', 'encoder', 'pooler', 'classifier'] }),
    {
      code: 'INPUT',
      message: /config.frozen names every parameter/,
    },
  );
});
