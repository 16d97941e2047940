import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { FileHeads } from '../../lib/data/file-heads.js';
import { withColumns } from '../../lib/training/columns.js';
import { RunData, type TokenizedBatch } from '../../lib/training/data.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { train } from '../../lib/training/train.js';
import { digests, pairs, record, shortRun, writeRows } from './support.js';

const SIZES = { many: 40, few: 20 };

/** Two files of pairs whose texts say which they are of; the columns of the second have other names. */
async function twoSets(folder: string): Promise<{ data: string; name: string; [more: string]: unknown }[]> {
  const many = pairs(SIZES.many).map(({ anchor, positive }) => ({ anchor, positive: `many ${positive}` }));
  const few = pairs(SIZES.few).map(({ anchor, positive }) => ({
    question: `${anchor}?`,
    reply: `few ${positive}`,
  }));
  return [
    { name: 'many', data: await writeRows(join(folder, 'many.jsonl'), many) },
    { name: 'few', data: await writeRows(join(folder, 'few.jsonl'), few) },
  ];
}

const rowsIn = async (file: string): Promise<object[]> =>
  (await readFile(file, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);

/** The texts of all batches of a run, as its data gives them. */
async function batchesOf(settings: object): Promise<{ batches: TokenizedBatch[]; counted: unknown }> {
  const heads = new FileHeads();
  const config = await withColumns(readTrainConfig(settings), heads, undefined);
  const data = new RunData(config, undefined, heads, () => undefined);
  const counted = await data.count(undefined, () => undefined);
  const batches: TokenizedBatch[] = [];
  const tokenize = () => Promise.resolve([]);
  for await (const batch of data.batches({ tokenize, maxLength: 9 }, { skip: 0, signal: undefined }))
    batches.push(batch);
  await heads.close();
  return { batches, counted };
}

const setsOf = (batches: readonly TokenizedBatch[], epoch: number): string =>
  batches
    .filter((batch) => batch.epoch === epoch)
    .map(({ set }) => set)
    .join('');

test('each batch is of one data set: in proportion to their batches and weights, or in turns', async (t) => {
  const { folder, config } = await shortRun(t);
  const [many, few] = await twoSets(folder);
  const run = { ...config, data: undefined, batch: 10, steps: undefined, epochs: 3 };
  const { batches, counted } = await batchesOf({ ...run, datasets: [many, few] });
  assert.deepEqual(counted, { rows: 60, leftOver: 0, batches: 18, small: 0, smallest: 10 });
  for (const { texts, set } of batches) {
    assert.deepEqual(Object.keys(texts), ['anchor', 'positive']);
    const word = set === 0 ? /^many / : /^few /;
    assert.ok(texts['positive']!.every((text) => word.test(text)));
  }
  const orders = [0, 1, 2].map((epoch) => setsOf(batches, epoch));
  for (const order of orders) assert.equal([...order].sort().join(''), '000011');
  assert.ok(new Set(orders).size > 1, 'another order in each epoch');
  // Every row once an epoch.
  for (const epoch of [0, 1, 2]) {
    const texts = batches
      .filter((batch) => batch.epoch === epoch)
      .flatMap((batch) => batch.texts['positive']!);
    assert.equal(new Set(texts).size, 60);
  }
  assert.deepEqual((await batchesOf({ ...run, datasets: [many, few] })).batches, batches);
  const weighted = await batchesOf({
    ...run,
    datasets: [
      { ...many, weight: 0.5 },
      { ...few, weight: 2 },
    ],
  });
  assert.equal([...setsOf(weighted.batches, 0)].sort().join(''), '001111');
  const turns = await batchesOf({ ...run, mixing: 'round-robin', datasets: [many, few] });
  assert.equal(setsOf(turns.batches, 0), '0101');
  // What the first epoch did not take of the larger set comes in the second.
  const seen = turns.batches
    .slice(0, 8)
    .filter(({ set }) => set === 0)
    .flatMap(({ texts }) => texts['anchor']!);
  assert.equal(new Set(seen).size, 40);
  const uneven = await batchesOf({ ...run, mixing: 'round-robin', datasets: [{ ...many, weight: 2 }, few] });
  assert.equal(setsOf(uneven.batches, 0), '001001');
});

test('prompts are those of a data set and its columns, and a run is resumed bit for bit', async (t) => {
  const { folder, config } = await shortRun(t);
  const [many, few] = await twoSets(folder);
  const datasets = [
    { ...many, prompts: { anchor: { prefix: 'query: ' } } },
    {
      ...few,
      prompts: {
        question: { prefix: 'question: ', name: 'question' },
        reply: { prefix: 'reply: ', name: 'reply' },
      },
    },
  ];
  const settings = {
    ...config,
    data: undefined,
    datasets,
    batch: 10,
    steps: 9,
    checkpoint: { every: 4 },
  } as never;
  const whole = { ...(settings as typeof config), output: join(folder, 'whole') };
  const { steps } = await record(whole);
  assert.deepEqual(new Set(steps.map(({ dataset }) => dataset)), new Set(['many', 'few']));
  const model = await TextEncoder.load(join(whole.output, 'model'), { device: 'cpu' });
  assert.deepEqual({ ...model.prompts }, { query: 'query: ', question: 'question: ', reply: 'reply: ' });
  model.dispose();
  const controller = new AbortController();
  await assert.rejects(
    train(settings, {
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 5) controller.abort();
      },
    }),
    { code: 'ABORTED' },
  );
  // Named again as they were, they are those of before; of what decides the batches another value is refused.
  const moved = { ...few, data: await writeRows(join(folder, 'moved.jsonl'), await rowsIn(few!.data)) };
  await assert.rejects(
    record({ output: config.output, resume: true, datasets: [many, { ...moved, weight: 3 }] } as never),
    /config\.datasets was .*cannot be resumed/,
  );
  await record({ output: config.output, resume: true, datasets: [many, moved] } as never);
  assert.deepEqual(await digests(join(config.output, 'model')), await digests(join(whole.output, 'model')));
  const stored = JSON.parse(await readFile(join(whole.output, 'settings.json'), 'utf8')) as object;
  assert.ok('datasets' in stored && !('data' in stored));
  await record({ ...stored, output: join(folder, 'again') } as never);
  assert.deepEqual(await digests(join(folder, 'again', 'model')), await digests(join(whole.output, 'model')));
});

test('classes have the same numbers in all data sets', async (t) => {
  const { folder, config } = await shortRun(t);
  const labelled = async (name: string, labels: string[]) =>
    writeRows(
      join(folder, `${name}.jsonl`),
      pairs(20).map(({ anchor, positive }, row) => ({
        a: anchor,
        b: `${name} ${positive}`,
        kind: labels[row % 2],
      })),
    );
  const datasets = [
    { data: await labelled('x', ['entailment', 'neutral']) },
    { data: await labelled('y', ['neutral', 'contradiction']) },
  ];
  const loss = { kind: 'softmax', classes: 3 };
  const run = { ...config, data: undefined, datasets, loss, batch: 10, steps: undefined, epochs: 1 };
  const { batches } = await batchesOf({ ...run, columns: ['a', 'b'], label: 'kind' });
  const numbers = (set: number) =>
    new Set(batches.filter((batch) => batch.set === set).flatMap(({ labels }) => labels));
  assert.deepEqual(numbers(0), new Set([0, 1]));
  assert.deepEqual(numbers(1), new Set([1, 2]));
});

test('data sets that cannot be trained on together are refused, and a small one is told with its numbers', async (t) => {
  const { folder, config } = await shortRun(t);
  const [many, few] = await twoSets(folder);
  const refused = async (change: object, message: RegExp): Promise<void> => {
    const settings = { ...config, data: undefined, datasets: [many, few], batch: 10, ...change };
    await assert.rejects(record(settings as never), { code: 'INPUT', message });
  };
  await refused({ data: 'x.jsonl' }, /config\.datasets takes the place of data/);
  await refused(
    { shuffle: false },
    /config\.shuffle is false; true, as the rows of several data sets are held/,
  );
  await refused(
    { datasets: undefined, data: many!['data'], mixing: 'round-robin' },
    /config\.mixing is for several data sets/,
  );
  await refused({ datasets: [] }, /config\.datasets is \[\]; a list of objects/);
  await refused({ datasets: [{ ...many, weight: 1e12 }] }, /datasets\[0\]\.weight is 1000000000000/);
  await refused({ datasets: [many, many] }, /config\.datasets\[1\]\.name is "many"/);
  await refused(
    { datasets: [{ ...many, wieght: 2 }] },
    /config\.datasets\[0\]\.wieght .*did you mean weight/,
  );
  await refused(
    { mixing: 'round-robin', datasets: [{ ...many, weight: 0.5 }] },
    /datasets\[0\]\.weight is 0\.5/,
  );
  await refused(
    { datasets: [many, { ...few, columns: ['question'] }] },
    /config\.datasets\[1\]\.columns|columns is/,
  );
  await refused(
    { datasets: [many, { ...few, prompts: { anchor: { prefix: 'q' } } }] },
    /config\.datasets\[1\]\.prompts\.anchor is for a column that is none of question, reply/,
  );
  await refused(
    { batch: 50, uniqueTexts: false },
    /few \(.*few\.jsonl\): the 20 rows do not fill half a batch of 50\. Use a smaller batch \(--batch\)/,
  );
});

test('small batches are told with numbers and the flag that helps', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(40).map(({ anchor }, row) => ({
    anchor,
    positive: row < 30 ? 'one answer' : `answer ${row}`,
  }));
  const data = await writeRows(join(folder, 'few-answers.jsonl'), rows);
  const notes = async (change: object): Promise<string[]> => {
    const output = join(folder, `run ${Object.keys(change).join()}`);
    const { events } = await record({
      ...config,
      data,
      output,
      batch: 10,
      steps: undefined,
      epochs: 1,
      ...change,
    });
    return events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
  };
  const [small] = await notes({});
  assert.match(
    small!,
    /\d+ of 40 rows are in no batch.*--batch 10.*--loss\.maskDuplicates keeps them together/,
  );
  // Rows of one answer are then no negatives of each other, and no row is left out.
  assert.deepEqual(await notes({ loss: { maskDuplicates: true } }), []);
  assert.match(
    (await notes({ loss: { maskDuplicates: true }, batch: 16 }))[0]!,
    /1 batch .* fewer than 16 pairs: 8\.$/,
  );
});
