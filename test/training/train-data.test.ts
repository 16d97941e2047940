import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { link, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import type { TrainEvent } from '../../lib/training/events.js';
import { loadHeldOut } from '../../lib/training/objectives/held-out.js';
import { setsOf } from '../../lib/training/held-out-sets.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { requireReadOnce } from '../../lib/training/read-once.js';
import { train } from '../../lib/training/train.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { digests, pairs, record, saveTinyModel, shortRun, TINY_CONFIG, writeRows } from './support.js';

test('columns called negative, negative2, … are hard negatives where no columns are named', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(40).map(({ anchor, positive }, row) => ({
    id: row === 0 ? '' : `row ${row}`, // a column that nobody asked for may be empty
    anchor,
    positive,
    negative: `a stone number ${row}`,
    negative_2: `a river number ${row}`,
  }));
  const data = await writeRows(join(folder, 'triplets.jsonl'), rows);
  const start = async (change: object): Promise<TrainEvent | undefined> => {
    const output = join(folder, JSON.stringify(change).length.toString());
    return (await record({ ...config, data, output, steps: 1, ...change })).events[0];
  };
  const all = await start({});
  assert.ok(all?.type === 'start');
  assert.deepEqual(all.columns, ['anchor', 'positive', 'negative', 'negative_2']);
  const none = await start({ columns: null });
  assert.ok(none?.type === 'start');
  assert.deepEqual(none.columns, all.columns);
  const asked = await start({ columns: ['anchor', 'positive'] });
  assert.ok(asked?.type === 'start');
  assert.deepEqual(asked.columns, ['anchor', 'positive']);
});

test('a hard negative that the first rows lack is not left out in silence', async (t) => {
  const { folder, config } = await shortRun(t);
  const run = async (name: string, negative: (row: number) => object, change: object = {}) => {
    const rows = pairs(40).map((pair, row) => ({ ...pair, ...negative(row) }));
    const data = await writeRows(join(folder, `${name}.jsonl`), rows);
    return record({ ...config, data, output: join(folder, name), steps: 1, ...change });
  };
  const lacking = (line: number, what: RegExp) => ({
    code: 'INPUT',
    message: new RegExp(`line ${line}: .*${what.source}.*--columns`),
  });
  await assert.rejects(
    run('null', (row) => ({ negative: row < 3 ? null : `a stone ${row}` })),
    lacking(1, /"negative" is null, not a text/),
  );
  await assert.rejects(
    run('absent', (row) => (row < 3 ? {} : { negative: `a stone ${row}` })),
    lacking(1, /it has no "negative"/),
  );
  const list = (row: number): object => ({ negative: [`a stone ${row}`, `a river ${row}`] });
  await assert.rejects(
    run('list', list, { loss: { kind: 'siglip' } }),
    lacking(1, /"negative" is \["a stone 0".*, not a text/),
  );
  const taken = await run('lists', list);
  assert.ok(taken.events[0]?.type === 'start');
  assert.deepEqual(taken.events[0].columns, ['anchor', 'positive', 'negative']);
  // A column in which there is nothing is none.
  const { events } = await run('nothing', () => ({ negative: null }));
  assert.ok(events[0]?.type === 'start');
  assert.deepEqual(events[0].columns, ['anchor', 'positive']);
});

test('the columns of a pipe are seen without losing a row, and its length in epochs is that of the rows held', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = join(folder, 'pipe.jsonl');
  execFileSync('mkfifo', [data]);
  const rows = pairs(40).map((pair, row) => ({ ...pair, negative: `a stone ${row}` }));
  for (const length of [{ steps: 3 }, { steps: undefined, epochs: 2 }]) {
    const run = { ...config, ...length, data, output: join(folder, `run-${Object.keys(length).length}`) };
    const [{ events, steps }] = await Promise.all([record(run), writeRows(data, rows)]);
    assert.ok(events[0]?.type === 'start');
    assert.deepEqual(events[0].columns, ['anchor', 'positive', 'negative']);
    const file = await writeRows(join(folder, 'file.jsonl'), rows);
    const other = await record({ ...run, data: file, output: `${run.output}-of-file` });
    assert.deepEqual(
      steps.map(({ loss }) => loss),
      other.steps.map(({ loss }) => loss),
    );
  }
});

test('a pipe that a run would read twice is refused by the setting', async (t) => {
  const pipe = join(await temporaryFolder(t), 'pipe.jsonl');
  execFileSync('mkfifo', [pipe]);
  const refused = (change: object, message: RegExp): void => {
    const settings = { model: 'm', data: 'pairs.jsonl', output: 'o', batch: 4, ...change };
    assert.throws(() => requireReadOnce(readTrainConfig(settings)), { code: 'INPUT', message });
  };
  refused({ data: [pipe, 'b.jsonl', pipe] }, /config\.data is .*; a list that has .*pipe\.jsonl once/);
  refused(
    { data: [pipe], evaluation: { data: pipe } },
    /config\.evaluation\.data is .*another file than data/,
  );
  const both = { data: pipe, loss: true, task: 'retrieval' };
  refused({ evaluation: both }, /config\.evaluation\.data is .*a regular file, as it is read twice/);
  requireReadOnce(
    readTrainConfig({ model: 'm', data: pipe, output: 'o', batch: 4, evaluation: { data: 'x' } }),
  );
});

test('a file of data is opened once for the start of a run and its first pass', async (t) => {
  const { folder, config } = await shortRun(t);
  const opened: string[] = [];
  const { createReadStream } = fs;
  const counting = (path: string, how?: object) => (opened.push(basename(path)), createReadStream(path, how));
  t.after(() => {
    fs.createReadStream = createReadStream;
    syncBuiltinESMExports();
  });
  fs.createReadStream = counting as typeof createReadStream;
  syncBuiltinESMExports();
  const table = join(folder, 'pairs.csv');
  const lines = pairs().map(({ anchor, positive }) => `${anchor},${positive}\n`);
  await writeFile(table, ['anchor,positive\n', ...lines].join(''));
  const epochs = { steps: undefined, epochs: 2 };
  for (const [change, most] of [
    [{ steps: 6 }, 1],
    [epochs, 1],
    [{ ...epochs, data: table }, 1],
    [{ ...epochs, data: table, columns: ['anchor', 'positive'] }, 1],
    // Rows that are not held are read once to count them, and once to train on them, in each epoch.
    [{ ...epochs, shuffle: false }, 4],
  ] as const) {
    opened.length = 0;
    await record({ ...config, ...change, output: join(folder, `run-${most}-${Object.keys(change).join()}`) });
    const file = basename((change as { data?: string }).data ?? 'pairs.jsonl');
    assert.equal(opened.filter((name) => name === file).length, most, JSON.stringify(change));
  }
});

test('a file that is missing and an output that is a file are errors that name them', async (t) => {
  const { folder, config } = await shortRun(t);
  const missing = join(folder, 'missing.jsonl');
  await assert.rejects(record({ ...config, data: missing, steps: 1 }), {
    code: 'INPUT',
    message: /missing\.jsonl/,
  });
  const output = join(folder, 'file');
  await writeFile(output, '');
  await assert.rejects(record({ ...config, output, steps: 1 }), { code: 'INPUT', message: /file/ });
});

test('a CSV file without a header trains, its columns named by the configuration', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = join(folder, 'plain.csv');
  await writeFile(
    data,
    pairs(40)
      .map(({ anchor, positive }) => `${anchor},${positive}\n`)
      .join(''),
  );
  const { steps } = await record({ ...config, data, header: false, columns: ['query', 'passage'], steps: 2 });
  assert.equal(steps.length, 2);
});

test('a run that would write over what it reads is refused before anything is written', async (t) => {
  const { folder, config } = await shortRun(t);
  const model = await saveTinyModel(join(folder, 'run', 'model'));
  await symlink(model, join(folder, 'link'));
  const metrics = await writeRows(join(folder, 'run', 'metrics.jsonl'), pairs());
  const inModel = await writeRows(join(model, 'held-out.jsonl'), pairs());
  const second = join(folder, 'second-name.jsonl');
  await link(metrics, second);
  const before = await digests(folder);
  const evaluation = { task: 'retrieval' as const, data: inModel };
  for (const inputs of [
    { model },
    { model: join(folder, 'link') },
    { model: { config: TINY_CONFIG, tokenizer: join(model, 'tokenizer.json') } },
    { data: metrics },
    { data: [config.data as string, second] },
    { evaluation },
  ]) {
    await assert.rejects(train({ ...config, ...inputs }), {
      code: 'INPUT',
      message: /would overwrite|already holds the model/,
    });
  }
  assert.deepEqual(await digests(folder), before);
});

test('held-out data has a format of its own, and a file whose name tells none says how to give it', async (t) => {
  const folder = await temporaryFolder(t);
  const data = join(folder, 'held.txt');
  await writeFile(data, 'anchor,positive\na,b\n');
  const load = (format?: 'csv') => {
    const config = readTrainConfig({
      model: 'm',
      data: 'pairs.jsonl',
      output: 'o',
      batch: 2,
      format: 'jsonl',
      evaluation: { task: 'retrieval', data, format },
    });
    return loadHeldOut(
      setsOf(config.evaluation)[0]!,
      { ...config, columns: ['anchor', 'positive'] },
      undefined,
    );
  };
  await load('csv');
  await assert.rejects(load(), {
    code: 'INPUT',
    message: /held\.txt: the format cannot be told.*--eval-format/,
  });
});
