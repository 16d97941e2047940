import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { infoNCE } from '../../lib/losses/info-nce.js';
import { GradCache } from '../../lib/step/gradcache.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import {
  batches,
  readPairs,
  train,
  type Loss,
  type StepEvent,
  type TrainConfigWithObjects,
} from '../../lib/index.js';
import type { LossOptions } from '../../lib/losses/loss.js';
import { collect } from '../data/temporary-folder.js';
import { gradcache } from '../cli/program.js';
import { pairs, record, shortRun, writeRows } from './support.js';

/** Rows in which some documents are the same in other words, and the negative of row 1 is the document of row 2. */
const rows = pairs(24).map(({ anchor, positive }, row) => ({
  anchor,
  positive,
  negative: `a stone of row ${row}`,
  document_id: row % 5,
  negative_id: row === 1 ? 2 : 100 + row,
}));

/** The loss of one step with these identities of rows, as the loss is given them by hand. */
async function lossOf(model: string, ids: unknown): Promise<number> {
  const encoder = await TextEncoder.load(model, { device: 'cpu', dropout: 0 });
  const cached = new GradCache({
    encoders: [encoder, encoder, encoder],
    loss: infoNCE(),
    chunk: { sequences: 8 },
  });
  const columns = (['anchor', 'positive', 'negative'] as const).map((name) => rows.map((row) => row[name]));
  const inputs = await Promise.all(columns.map((texts) => encoder.tokenize(texts)));
  const loss = await cached.lossOf(inputs, { loss: { ids } });
  encoder.dispose();
  return loss;
}

/** Writes rows as Parquet: texts, and ids as whole numbers of 64 bits. */
async function writeParquetRows(
  path: string,
  rows: readonly Record<string, string | number>[],
): Promise<string> {
  const { parquetWriteBuffer } = await import('hyparquet-writer');
  const columnData = Object.entries(rows[0]!).map(([name, value]) =>
    typeof value === 'number'
      ? { name, data: rows.map((row) => BigInt(row[name]!)), type: 'INT64' as const }
      : { name, data: rows.map((row) => row[name]), type: 'STRING' as const },
  );
  await writeFile(path, new Uint8Array(parquetWriteBuffer({ columnData })));
  return path;
}

/** InfoNCE at temperature 0.05 with a mask over the pairs that share an id, written out. */
function maskedByHand(
  [anchors, positives, negatives]: readonly Tensor[],
  ids: readonly (readonly string[])[],
): Tensor {
  const mask = ids.flatMap((own, row) =>
    ids.map((other, column) => (row !== column && own.some((id) => other.includes(id)) ? -1e30 : 0)),
  );
  const left = Tensor.from(mask, { shape: [ids.length, ids.length] });
  const [from, ...to] = [anchors!, positives!, negatives!].map((tower) => tower.normalize());
  const logits = to.map((tower) => from!.matmul(tower.t()).mul(20).add(left));
  const all = logits.map((each) => each.exp().sum(1)).reduce((sum, each) => sum.add(each));
  const own = from!.mul(to[0]!).sum(1).mul(20);
  return all.log().sub(own).mean();
}

test('the gradient is that of InfoNCE with the pairs that share an id masked by hand', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const ids = ['document_id', 'negative_id'] as const;
  const columns = ['anchor', 'positive', 'negative'] as const;
  const source = batches(readPairs(data, { columns, ids }), { size: 24, shuffle: false, ids });
  const [batch] = await collect(source);
  const gradients = async (loss: Loss, options: LossOptions): Promise<number[]> => {
    const encoder = await TextEncoder.load(config.model as string, { device: 'cpu', dropout: 0 });
    const encoders = [encoder, encoder, encoder];
    const cached = new GradCache({ encoders, loss, chunk: { sequences: 8 } });
    const inputs = await Promise.all(columns.map((name) => encoder.tokenize(batch!.columns[name])));
    await cached.step(inputs, { loss: options });
    const values = await Promise.all(encoder.parameters().map(({ tensor }) => tensor.grad!.values()));
    encoder.dispose();
    return values.flatMap((each) => [...(each as Float32Array)]);
  };
  const length = (values: readonly number[]): number =>
    Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const away = (some: readonly number[], others: readonly number[]): number =>
    length(some.map((value, place) => value - others[place]!)) / length(others);
  const byHand = await gradients((...towers) => maskedByHand(towers, batch!.ids!), {});
  assert.ok(away(await gradients(infoNCE(), { ids: batch!.ids }), byHand) < 1e-4);
  assert.ok(away(await gradients(infoNCE(), {}), byHand) > 0.01);

  // Several updates of a run, too.
  const run = { ...config, data, batch: 24, steps: 3, shuffle: false, dropout: 0, ids, columns };
  const { steps } = await record({ ...run, output: join(folder, 'named') });
  const own: StepEvent[] = [];
  const { loss: none, ...hand }: TrainConfigWithObjects = { ...run, output: join(folder, 'by-hand') };
  assert.equal(none, undefined);
  await train(
    {
      ...hand,
      loss: (anchors, positives, negatives, options) =>
        maskedByHand([anchors, positives, negatives] as never, (options as never as { ids: string[][] }).ids),
    },
    { onEvent: (event) => void (event.type === 'step' && own.push(event)) },
  );
  for (const [place, { loss, gradNorm }] of steps.entries()) {
    assert.ok(Math.abs(loss - own[place]!.loss) < 1e-3, `step ${place}: ${loss}, ${own[place]!.loss}`);
    assert.ok(Math.abs(gradNorm / own[place]!.gradNorm - 1) < 0.01, `step ${place}`);
  }
});

const close = (actual: number, wanted: number): void =>
  assert.ok(Math.abs(actual - wanted) < 1e-5, `${actual}, ${wanted} is wanted`);

test('rows that share an id are no negatives of each other: of any column, from every format, in each data set', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const [header, ...lines] = [Object.keys(rows[0]!), ...rows.map((row) => Object.values(row))];
  const csv = join(folder, 'rows.csv');
  await writeFile(csv, [header, ...lines].map((line) => `${line.join()}\n`).join(''));
  const tsv = join(folder, 'rows.tsv');
  await writeFile(tsv, [header, ...lines].map((line) => `${line.join('\t')}\n`).join(''));
  const parquet = await writeParquetRows(join(folder, 'rows.parquet'), rows);
  const lists = await writeRows(
    join(folder, 'lists.jsonl'),
    rows.map(({ document_id, negative_id, ...row }) => ({ ...row, all: [document_id, `${negative_id}`] })),
  );
  const model = config.model as string;
  const byHand = {
    none: await lossOf(model, undefined),
    documents: await lossOf(
      model,
      rows.map((row) => row.document_id),
    ),
    both: await lossOf(
      model,
      rows.map((row) => [row.document_id, row.negative_id]),
    ),
  };
  assert.ok(byHand.documents < byHand.none - 0.01 && byHand.both < byHand.documents, JSON.stringify(byHand));

  let runs = 0;
  const once = async (settings: object): Promise<number> => {
    const run = { ...config, batch: 24, steps: 1, shuffle: false, dropout: 0, data, ...settings };
    const { steps } = await record({ ...run, output: join(folder, `run-${runs++}`) });
    return steps[0]!.loss;
  };
  close(await once({}), byHand.none);
  close(await once({ ids: 'document_id' }), byHand.documents);
  const ids = ['document_id', 'negative_id'];
  close(await once({ ids }), byHand.both);
  close(await once({ ids, loss: { maskDuplicates: true } }), byHand.both);
  close(await once({ ids, uniqueTexts: true }), byHand.both);
  for (const file of [csv, tsv, parquet]) close(await once({ ids, data: file }), byHand.both);
  close(await once({ ids: 'all', data: lists }), byHand.both);
  close(await once({ data: undefined, shuffle: true, datasets: [{ data: csv, ids }] }), byHand.both);
  // A memory of the batch itself: every row of it shares an id with the batch.
  const memory = { capacity: 24 };
  const { steps } = await record({
    ...{ ...config, data, batch: 12, steps: 2, shuffle: false, dropout: 0, optimizer: { lr: 1e-12 } },
    ...{ memory, ids: 'document_id', columns: ['anchor', 'positive'] },
  });
  const { steps: without } = await record({
    ...{ ...config, data, batch: 12, steps: 2, shuffle: false, dropout: 0, optimizer: { lr: 1e-12 } },
    ...{ ids: 'document_id', columns: ['anchor', 'positive'], output: join(folder, 'no-memory') },
  });
  assert.equal(steps[1]!.loss, without[1]!.loss);
});

test('ids of a run: held-out rows have them, a loss of the program gets them, a resumed run keeps them', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const run = { ...config, data, batch: 24, shuffle: false, dropout: 0, steps: 1, ids: 'document_id' };
  const evaluation = { loss: true, data, every: 1 };
  const { events, steps } = await record({
    ...run,
    optimizer: { lr: 1e-12 },
    evaluation,
    checkpoint: { every: 1 },
  });
  const measured = events.find((event) => event.type === 'evaluation');
  close(measured!.scores['loss']!, steps[0]!.loss);
  const { steps: after } = await record({ output: config.output, resume: true, steps: 2 });
  close(after[0]!.loss, steps[0]!.loss);
  const refused = record({ output: config.output, resume: true, steps: 3, ids: 'negative_id' });
  await assert.rejects(refused, { code: 'INPUT', message: /config\.ids was \["document_id"\], now/ });

  const seen: unknown[] = [];
  const own: TrainConfigWithObjects = {
    ...{ ...run, output: join(folder, 'own'), columns: ['anchor', 'positive'], data: rows as never },
    loss: (anchors, positives, { ids }) => {
      seen.push(ids);
      return anchors.mul(positives).sum();
    },
  };
  await train(own);
  assert.deepEqual(seen, [rows.map((row) => [`${row.document_id}`])]);
});

test('held-out rows have ids in columns of their own, or none and are masked by their texts', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const renamed = await writeRows(
    join(folder, 'renamed.jsonl'),
    rows.map(({ document_id, negative_id: _, ...texts }) => ({ ...texts, doc: document_id })),
  );
  const run = {
    ...{ ...config, data, batch: 24, shuffle: false, dropout: 0, steps: 1, optimizer: { lr: 1e-12 } },
    ...{ ids: 'document_id', columns: ['anchor', 'positive', 'negative'] as const },
  };
  const model = config.model as string;
  let runs = 0;
  const lossOfHeldOut = async (evaluation: object): Promise<number> => {
    const output = join(folder, `held-out-${runs++}`);
    const { events } = await record({
      ...run,
      output,
      evaluation: { loss: true, data: renamed, ...evaluation },
    });
    return events.find((event) => event.type === 'evaluation')!.scores['loss']!;
  };
  const byIds = await lossOf(
    model,
    rows.map((row) => row.document_id),
  );
  const texts = await lossOf(model, undefined);
  close(await lossOfHeldOut({ ids: 'doc' }), byIds);
  close(await lossOfHeldOut({ ids: ['doc'] }), byIds);
  close(await lossOfHeldOut({ ids: false }), texts);
  const output = join(folder, 'by-flags');
  const flags = Object.entries({
    model,
    data,
    batch: 24,
    steps: 1,
    ids: 'document_id',
    device: 'cpu',
    output,
  });
  const args = ['train', ...flags.flatMap(([name, value]) => [`--${name}`, `${value}`]), '--eval-loss'];
  const told = await gradcache([...args, '--eval-data', renamed, '--eval-ids', 'doc', '--no-shuffle']);
  assert.equal(told.code, 0, told.stderr);
  const { stderr } = await gradcache(
    [...args, '--eval-data', renamed, '--output', `${output}-2`].toSpliced(13, 2),
  );
  assert.match(
    stderr,
    /no id "document_id".*\(evaluation\.ids, --eval-ids; --no-eval-ids where the file has none\)/,
  );
  const sets = ['--eval-set', `a=${renamed}`, '--eval-set', 'a.loss=true', '--eval-set', 'a.ids=doc'];
  const named = await gradcache([...args.slice(0, -1), ...sets, '--output', `${output}-3`].toSpliced(13, 2));
  assert.equal(named.code, 0, named.stderr);

  for (const [settings, message] of [
    [{ evaluation: { data, ids: 'doc' } }, /evaluation\.ids is for the loss of held-out data/],
    [
      { ids: undefined, evaluation: { data, loss: true, ids: 'doc' } },
      /evaluation\.ids is for a run with ids/,
    ],
    [{ evaluation: { data, loss: true, ids: [] } }, /evaluation\.ids is \[\]; a string/],
  ] as const)
    assert.throws(() => readTrainConfig({ ...run, ...settings }), { code: 'INPUT', message });
  await assert.rejects(lossOfHeldOut({ ids: 'anchor' }), {
    message: /config\.evaluation\.ids is \["anchor"\]/,
  });
});

test('a run that is resumed with ids it had not names them, and rows with other ids are other rows', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const run = {
    ...config,
    data,
    batch: 8,
    steps: 1,
    columns: ['anchor', 'positive'],
    checkpoint: { every: 1 },
  };
  await record(run);
  const resumed = { output: config.output, resume: true, steps: 2 };
  await assert.rejects(record({ ...resumed, ids: 'document_id' } as never), {
    code: 'INPUT',
    message: /^config\.ids was not set, now \["document_id"\], and .* cannot be resumed/,
  });
  const output = join(folder, 'with-ids');
  await record({ ...run, output, ids: 'document_id' });
  await writeRows(
    data,
    rows.map((row) => ({ ...row, document_id: row.document_id + 1 })),
  );
  await assert.rejects(record({ ...resumed, output } as never), { code: 'INPUT', message: /rows/ });
  await writeRows(data, rows);
  await record({ ...resumed, output } as never);
});

test('ids that would do nothing are refused, and rows without one', async (t) => {
  const { folder, config } = await shortRun(t);
  const run = { ...config, ids: 'document_id' };
  for (const [settings, message] of [
    [
      { loss: { kind: 'siglip' } },
      /config\.ids says .* the loss siglip takes no ids; "gist-embed", "infonce"/,
    ],
    [{ loss: { maskDuplicates: false } }, /config\.ids names .* loss\.maskDuplicates is false/],
    [
      { loss: { labelSmoothing: 0.1 } },
      /config\.loss\.labelSmoothing is 0\.1; 0, beside maskDuplicates, is needed\. config\.ids turns loss\.maskDuplicates on/,
    ],
    [{ loss: { precision: 'fast' } }, /config\.loss\.precision is "fast"; .* config\.ids turns/],
    [{ loss: { kind: 'cosent' } }, /config\.ids says .* the loss cosent takes no ids/],
    [{ ids: [] }, /config\.ids is \[\]/],
    [{ ids: 7 }, /config\.ids is 7; a string/],
  ] as const)
    assert.throws(() => readTrainConfig({ ...run, ...settings }), { code: 'INPUT', message });
  assert.equal(readTrainConfig(run).uniqueTexts, false);
  const whole = await writeRows(join(folder, 'whole.jsonl'), rows);
  const data = await writeRows(join(folder, 'rows.jsonl'), [...rows, { ...rows[0], document_id: 1.5 }]);
  for (const [settings, message] of [
    [{ data }, /line 25: the id "document_id" is 1\.5; a text, a whole number or a list/],
    [{}, /line 1: it has no id "document_id"/],
    [
      { data: whole, columns: ['anchor', 'positive'], evaluation: { loss: true, data: config.data } },
      /pairs\.jsonl, line 1: it has no id "document_id"/,
    ],
    [{ data, ids: ['positive'] }, /config\.ids is \["positive"\]; .*neither texts/],
    [{ data, ids: ['negative_id', 'negative_id'] }, /config\.ids is .* different columns/],
    [
      {
        data: undefined,
        ids: undefined,
        datasets: [
          { name: 'a', data, ids: ['document_id'] },
          { name: 'b', data },
        ],
      },
      /config\.datasets\[1\]\.ids names no columns of the data set "b" .* "a" are document_id.*of "b" .*--dataset-ids b=A,B.* null or \[\]/,
    ],
    [
      {
        data: undefined,
        columns: ['anchor', 'positive'],
        datasets: [
          { name: 'a', data: whole },
          { name: 'b', data: config.data },
        ],
      },
      /pairs\.jsonl, line 1: it has no id "document_id"; .*\(ids of the data set "b", --dataset-ids b=A,B\), or write null/,
    ],
  ] as const)
    await assert.rejects(record({ ...run, ...settings } as never), { code: 'INPUT', message });
  // A flag for the run and one for a data set.
  const flags = ['--model', config.model as string, '--batch', '20', '--steps', '1', '--device', 'cpu'];
  const output = join(folder, 'by-flags');
  const skip = ['--on-bad-line', 'skip', '--output', output];
  const ids = ['--dataset', `a=${data}`, '--dataset-ids', 'a=document_id,negative_id'];
  const { code, stderr } = await gradcache(['train', ...flags, ...skip, ...ids]);
  assert.equal(code, 0, stderr);
  const wrong = await gradcache([
    'train',
    ...flags,
    '--output',
    output,
    '--data',
    data,
    '--ids',
    'a',
    '--loss',
    'siglip',
  ]);
  assert.match(wrong.stderr, /--ids .*the loss siglip takes no ids/);
});

test('a batch in which every pair is masked is told, and counted', async (t) => {
  const { folder, config } = await shortRun(t);
  // The rows of a batch of 4 are about one document, but for the second and third batch.
  const about = (row: number) => (row >= 4 && row < 12 ? row : 0);
  const data = await writeRows(
    join(folder, 'rows.jsonl'),
    rows.map((row, place) => ({ ...row, document_id: about(place) })),
  );
  const run = { ...config, data, batch: 4, epochs: 1, steps: undefined, shuffle: false, ids: 'document_id' };
  const pairsAlone = { ...run, columns: ['anchor', 'positive'] };
  const { steps, events } = await record(pairsAlone);
  assert.deepEqual(
    steps.map((event) => event.maskedRows),
    [4, undefined, undefined, 4, 4, 4],
  );
  assert.equal(steps[0]!.loss, 0);
  assert.ok(steps[1]!.loss > 0.1);
  const told = events.flatMap((event) =>
    event.type === 'note' && event.message.includes('teaches nothing') ? [event.message] : [],
  );
  assert.equal(told.length, 1);
  assert.match(told[0]!, /^step 1 \(epoch 0, batch 0\): each row shares an id or a text with every other/);
  // With a memory, the first batch finds it empty; the last ones find rows about other documents in it.
  const remembered = await record({ ...pairsAlone, memory: { capacity: 8 }, output: join(folder, 'memory') });
  assert.deepEqual(
    remembered.steps.map((event) => event.maskedRows),
    [4, undefined, undefined, undefined, undefined, 4],
  );
  assert.deepEqual(
    remembered.steps.map((event) => event.loss === 0),
    [true, false, false, false, false, true],
  );
  assert.equal(
    remembered.events.filter((event) => event.type === 'note' && event.message.includes('teaches nothing'))
      .length,
    1,
  );
  // In a batch of 8 some rows have none; a row's own hard negatives are some.
  const larger = await record({ ...pairsAlone, batch: 8, output: join(folder, 'larger') });
  assert.deepEqual(
    larger.steps.map((event) => event.maskedRows),
    [undefined, undefined, 8],
  );
  const negatives = { columns: ['anchor', 'positive', 'negative'], output: join(folder, 'negatives') };
  const hard = await record({ ...run, ...negatives });
  assert.ok(hard.steps.every((event) => event.maskedRows === undefined && event.loss > 0));
});
