import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { GradCache, infoNCE, TextEncoder } from '../../lib/index.js';
import { LOSSES } from '../../lib/losses/loss-kinds.js';
import type { LossKind } from '../../lib/losses/loss-kind.js';
import type { TrainConfig } from '../../lib/training/config.js';
import { train } from '../../lib/training/train.js';
import { MUST } from '../losses/settings.js';
import { BINARY, modelFor, rowsFor } from './loss-rows.js';
import { digests, pairs, record, shortRun, writeRows } from './support.js';

for (const [kind, about] of Object.entries(LOSSES) as unknown as [keyof typeof LOSSES, LossKind<never>][]) {
  if (about.pairs !== undefined) continue; // in cross-encoder.test.ts
  test(`a run with the loss ${kind} finds its columns and labels, and trains`, async (t) => {
    const { folder, config } = await shortRun(t);
    const rows = BINARY.includes(kind)
      ? rowsFor(about).map((row, k) => ({ ...row, score: k % 2 }))
      : rowsFor(about);
    const data = await writeRows(join(folder, 'rows.jsonl'), rows);
    const loss = { kind, ...MUST[kind] } as NonNullable<TrainConfig['loss']>;
    const run = {
      ...config,
      ...modelFor(about),
      data,
      batch: 12,
      steps: 4,
      loss,
    };
    const { steps } = await record(run);
    assert.equal(steps.length, 4);
    for (const step of steps)
      assert.ok(Number.isFinite(step.loss) && step.gradNorm > 0, JSON.stringify(step));
    const { temperature } = about;
    assert.equal(steps.at(-1)!.temperature === null, temperature === undefined);
  });
}

test('a label that the loss would refuse is told with its line, before anything is trained', async (t) => {
  const wrong: Record<string, readonly [unknown, RegExp]> = {
    contrastive: [1e300, /a number that float32 has/],
    'cosine-similarity': [1e300, /a number that float32 has/],
    'online-contrastive': [-3, /0 or 1/],
    'distill-kl-div': [[1, 2, 3], /a list of 2 numbers/],
    'multi-vector-distill-kl-div': [4, /a list of 2 numbers/],
    'splade-distill-kl-div': [[1, 'x'], /a number or a JSON list of numbers/],
    'margin-mse': [[1, 2, 3], /a margin or a list of 2 scores/],
    'multi-vector-margin-mse': [[[1]], /a margin or a list of 2 scores/],
    'splade-margin-mse': [[], /a number or a JSON list of numbers/],
  };
  for (const [kind, [label, needed]] of Object.entries(wrong)) {
    const about = LOSSES[kind as keyof typeof LOSSES] as unknown as LossKind<never>;
    const { folder, config } = await shortRun(t);
    const rows = rowsFor(about).map((row, k) => ({
      ...row,
      ...(BINARY.includes(kind) && { score: k % 2 }),
      ...(k === 20 && { score: label }),
    }));
    const data = await writeRows(join(folder, 'rows.jsonl'), rows);
    const loss = { kind } as NonNullable<TrainConfig['loss']>;
    const run = { ...config, ...modelFor(about), data, batch: 12, steps: 1, loss };
    await assert.rejects(train(run), (error: Error) => {
      assert.match(error.message, /rows\.jsonl, line 21: the label "score" is /);
      assert.match(error.message, needed);
      return true;
    });
    const { events } = await record({ ...run, onBadLine: 'skip' });
    assert.ok(
      events.some(({ type }) => type === 'step'),
      kind,
    );
  }
});

test('labels that a run needs are found, or asked for by name', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = rowsFor(LOSSES.cosent as never);
  const data = await writeRows(
    join(folder, 'rows.jsonl'),
    rows.map(({ score, ...texts }, number) => ({ ...texts, similarity: score, number })),
  );
  const run = { ...config, data, batch: 12, steps: 1, loss: { kind: 'cosent' } as const };
  await assert.rejects(train(run), {
    code: 'INPUT',
    message:
      'config.label is missing: the loss cosent needs a score for each pair. Name its column (label, --label); the data has ' +
      '"sentence1", "sentence2", "similarity", "number".',
  });
  await train({ ...run, label: 'similarity' });
  await assert.rejects(train({ ...config, output: join(folder, 'b'), label: 'similarity' }), {
    code: 'INPUT',
    message: 'config.label is "similarity", and the loss infonce takes no label.',
  });
  await assert.rejects(
    train({ ...run, output: join(folder, 'c'), columns: ['sentence1', 'sentence2'], label: 'sentence2' }),
    {
      code: 'INPUT',
      message: 'config.label is "sentence2"; a column that is none of the texts is needed.',
    },
  );
  await assert.rejects(train({ ...run, output: join(folder, 'd'), memory: { capacity: 4 } }), {
    code: 'INPUT',
    message:
      /^config.memory adds candidates of earlier batches, and the loss cosent takes none; .*"infonce".* do\.$/,
  });
});

test('classes that the loss does not have are refused before the batch is encoded', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'rows.jsonl'), rowsFor(LOSSES.softmax as never));
  const run = { ...config, data, batch: 12, steps: 1, loss: { kind: 'softmax', classes: 2 } as const };
  const phases: string[] = [];
  const onEvent = ({ type, ...event }: { type: string }) =>
    void (type === 'chunk' && phases.push(JSON.stringify(event)));
  await assert.rejects(train(run, { onEvent }), {
    code: 'INPUT',
    message: /^labels\[\d+\] is 2; a whole number from 0 to 1 is needed\.$/,
  });
  assert.deepEqual(phases, []);
});

test('a resumed run has the labels, the groups and the classifier of one that was not interrupted', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'rows.jsonl'), rowsFor(LOSSES.softmax as never, 40));
  const run: TrainConfig = {
    ...config,
    data,
    batch: 8,
    steps: 6,
    label: 'score',
    groupByLabel: true,
    loss: { kind: 'softmax', classes: 3 },
    checkpoint: { every: 3, keep: 5 },
  };
  await train(run);
  const whole = await digests(join(config.output, 'model'));
  const output = join(folder, 'again');
  const controller = new AbortController();
  const onEvent = ({ type, step }: { type: string; step?: number }) =>
    void (type === 'step' && step === 5 && controller.abort());
  await assert.rejects(train({ ...run, output }, { onEvent, signal: controller.signal }), {
    code: 'ABORTED',
  });
  for (const [changed, message] of [
    [{ label: 'other' }, /^config\.label was "score", now "other"/],
    [{ groupByLabel: false }, /^config\.groupByLabel was true, now false/],
  ] as const)
    await assert.rejects(train({ output, resume: true, ...changed }), { code: 'INPUT', message });
  const other = rowsFor(LOSSES.softmax as never, 40).map((row, k) =>
    k === 7 ? { ...row, score: 'w' } : row,
  );
  await assert.rejects(
    train({ output, resume: true, data: await writeRows(join(folder, 'other.jsonl'), other) }),
    {
      code: 'INPUT',
      message: /the data has changed/,
    },
  );
  await train({ output, resume: true });
  assert.deepEqual(await digests(join(output, 'model')), whole);
});

test('groups need a loss with labels and a batch of pairs', async (t) => {
  const { config } = await shortRun(t);
  const grouped = { ...config, groupByLabel: true };
  await assert.rejects(train(grouped), {
    code: 'INPUT',
    message: /^config\.groupByLabel puts rows .*: the loss infonce takes no label\.$/,
  });
  const labelled = { ...grouped, loss: { kind: 'cosent' } as const };
  await assert.rejects(train({ ...labelled, batch: 7 }), {
    code: 'INPUT',
    message: /batch is 7; an even number from 4 is needed\.$/,
  });
  await assert.rejects(train({ ...labelled, shuffle: false }), {
    code: 'INPUT',
    message: /shuffle must be true\.$/,
  });
  await assert.rejects(train({ ...labelled, uniqueTexts: true }), {
    code: 'INPUT',
    message: /uniqueTexts must be false\.$/,
  });
});

test('a teacher of another dimension is met by a projection, which a resumed run has too', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(24).map(({ anchor }, row) => ({
    text: anchor,
    label: Array.from({ length: 9 }, (_, k) => Math.sin(row + k)),
  }));
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const run = { ...config, data, batch: 12, checkpoint: { every: 2 } };
  for (const kind of ['mse', 'embed-distill'] as const) {
    const output = join(folder, kind);
    await train({ ...run, output, steps: 2, loss: { kind, projection: 9 } });
    const { steps } = await record({ output, resume: true, steps: 4 });
    assert.deepEqual(
      steps.map(({ step }) => step),
      [3, 4],
    );
  }
});

test('rows count as much as the column of weights says', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(40).map((row, k) => ({
    ...row,
    importance: k % 4 === 0 ? 0 : k % 3,
    heavy: k === 3 ? 'very' : 1,
    below: k === 3 ? -1 : 1,
  }));
  const data = await writeRows(join(folder, 'weighted.jsonl'), rows);
  const run = { ...config, data, batch: 40, steps: 2, shuffle: false, dropout: 0 };
  const { steps } = await record({ ...run, weights: 'importance', output: join(folder, 'weighted') });

  const model = await TextEncoder.load(config.model as string, { dropout: 0 });
  const gradcache = new GradCache({ encoders: [model, model], loss: infoNCE() });
  const inputs = [rows.map(({ anchor }) => anchor), rows.map(({ positive }) => positive)];
  const tokens = await Promise.all(inputs.map((texts) => model.tokenize(texts)));
  const weights = rows.map(({ importance }) => importance);
  const expected = await gradcache.lossOf(tokens, { loss: { weights } });
  assert.ok(Math.abs(steps[0]!.loss - expected) < 1e-6 * expected, `${steps[0]!.loss}, ${expected}`);
  const { steps: even } = await record({ ...run, output: join(folder, 'even') });
  assert.notEqual(even[0]!.loss, steps[0]!.loss);
  model.dispose();

  const held = await record({
    ...run,
    weights: 'importance',
    output: join(folder, 'held'),
    evaluation: { data, loss: true, every: 1 },
  });
  const [before] = held.events.flatMap((event) => (event.type === 'evaluation' ? [event.scores] : []));
  assert.ok(before!.loss! > 0);
  const wrong: [object, RegExp][] = [
    [
      { weights: 'importance', loss: { kind: 'siglip' } },
      /^config\.weights .* siglip takes no weights; "infonce", "mult/,
    ],
    [{ weights: 'anchor', columns: ['anchor', 'positive'] }, /^config\.weights is "anchor"; a column/],
    [{ weights: 'positive' }, /^config\.weights is "positive"; a column that is none of the texts/],
    [{ weights: 'nothing' }, /line 1: it has no weight "nothing"/],
    [{ weights: 'heavy' }, /line 4: the weight "heavy" is "very", not a number\./],
    [{ weights: 'below' }, /line 4: the weight "below" is -1, not a number from 0\./],
    [{ weights: 3 }, /^config\.weights is 3/],
  ];
  for (const [k, [settings, message]] of wrong.entries())
    await assert.rejects(record({ ...run, output: join(folder, `wrong${k}`), ...settings }), {
      code: 'INPUT',
      message,
    });
});
