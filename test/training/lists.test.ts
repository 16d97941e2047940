import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { infoNCE } from '../../lib/losses/info-nce.js';
import { AdamW } from '../../lib/optim/adamw.js';
import { GradCache } from '../../lib/step/gradcache.js';
import { spreadLists } from '../../lib/training/objectives/spread-lists.js';
import { pairs, record, root, shortRun, writeRows } from './support.js';

/** Rows with one or two positives, and with none to three negatives. */
const ragged = pairs(24).map(({ anchor, positive }, row) => ({
  query: anchor,
  pos: [positive, ...(row % 2 === 1 ? [`${positive} indeed`] : [])],
  neg: Array.from({ length: row % 4 }, (_, number) => `a stone ${number} of row ${row}`),
}));

test('rows with lists are trained as the loss takes them: each positive is a target, each negative has its anchor', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'ragged.jsonl'), ragged);
  const settings = {
    ...config,
    data,
    steps: 1,
    batch: 24,
    shuffle: false,
    dropout: 0,
    loss: { hardnessMode: 'hard_negatives', hardnessStrength: 2 },
  };
  const { steps, events } = await record({
    ...settings,
    columns: ['query', 'pos', 'neg'],
    lists: ['pos', 'neg'],
  } as never);
  assert.ok(events[0]?.type === 'start');

  const model = await TextEncoder.load(config.model as string, { device: 'cpu', dropout: 0 });
  const loss = infoNCE({ hardnessMode: 'hard_negatives', hardnessStrength: 2 });
  const gradcache = new GradCache({ encoders: [model, model, model], loss, chunk: { sequences: 8 } });
  const optimizer = new AdamW(model.parameters(), { lr: 1e-2 });
  const others: string[] = [];
  const owners: number[] = [];
  const targets = ragged.map((_, row) => [row]);
  for (const list of ['pos', 'neg'] as const)
    for (const [row, { [list]: texts }] of ragged.entries())
      for (const text of list === 'pos' ? texts.slice(1) : texts) {
        if (list === 'pos') targets[row]!.push(ragged.length + others.length);
        others.push(text);
        owners.push(row);
      }
  const towers = [ragged.map(({ query }) => query), ragged.map(({ pos }) => pos[0]!), others];
  const step = await gradcache.step(await Promise.all(towers.map((texts) => model.tokenize(texts))), {
    loss: { targets, owners },
  });
  const { gradNorm } = await optimizer.step();
  model.dispose();
  assert.ok(Math.abs(steps[0]!.loss - step.loss) < 1e-5, `${steps[0]!.loss} ${step.loss}`);
  assert.ok(Math.abs(steps[0]!.gradNorm - gradNorm) < 1e-4 * gradNorm);
});

test('lists of one text each are what columns of texts are, and batches may have nothing else in them', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs(40).map(({ anchor, positive }, row) => ({
    anchor,
    positive,
    negative: `a stone ${row}`,
  }));
  const listed = rows.map(({ anchor, positive, negative }) => ({
    anchor,
    positive: [positive],
    negative: [negative],
  }));
  const run = async (name: string, all: object[], change: object = {}) => {
    const data = await writeRows(join(folder, `${name}.jsonl`), all);
    return record({ ...config, data, steps: 3, output: join(folder, name), dropout: 0, ...change });
  };
  const single = await run('single', rows);
  const { steps, events } = await run('listed', listed);
  // Columns of lists are found where none are named.
  assert.ok(events[0]?.type === 'start');
  assert.deepEqual(
    [events[0].columns, events[0].settings['lists']],
    [
      ['anchor', 'positive', 'negative'],
      ['positive', 'negative'],
    ],
  );
  for (const [place, { loss }] of steps.entries())
    assert.ok(Math.abs(loss - single.steps[place]!.loss) < 1e-5, `${loss} ${single.steps[place]!.loss}`);
  const lists = { columns: ['anchor', 'positive', 'negative'], lists: ['positive', 'negative'] };
  const bare = await run(
    'bare',
    listed.map((row) => ({ ...row, negative: [] })),
    { ...lists, evaluation: { loss: true, data: join(folder, 'listed.jsonl') } },
  );
  assert.equal(bare.steps.length, 3);
  const parquet = join(root, 'test', 'data', 'fixtures', 'lists.parquet');
  const fromParquet = await record({
    ...config,
    data: parquet,
    batch: 6,
    steps: 2,
    output: join(folder, 'parquet'),
  });
  assert.ok(fromParquet.events[0]?.type === 'start');
  assert.deepEqual(fromParquet.events[0].settings['lists'], ['positive', 'negative']);
});

test('texts of lists are seen where no text may be in a batch twice', async (t) => {
  const { folder, config } = await shortRun(t);
  // Rows of the two halves share a text inside their lists.
  const rows = pairs(40).map(({ anchor, positive }, row) => ({
    anchor,
    positive: [positive, `shared ${row % 20}`],
  }));
  const data = await writeRows(join(folder, 'shared.jsonl'), rows);
  const settings = { ...config, data, batch: 40, steps: 1 };
  await assert.rejects(record({ ...settings, batch: 50 }), /do not fill half a batch/);
  const { steps } = await record(settings);
  assert.equal(steps[0]!.pairs, 20);
  const masked = await record({
    ...settings,
    loss: { maskDuplicates: true },
    output: join(folder, 'masked'),
  });
  assert.equal(masked.steps[0]!.pairs, 40);
});

test('lists that cannot be are refused', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'ragged.jsonl'), ragged);
  const refused = async (change: object, message: RegExp): Promise<void> => {
    const run = { ...config, data, columns: ['query', 'pos', 'neg'], lists: ['pos', 'neg'], ...change };
    await assert.rejects(record(run), { code: 'INPUT', message });
  };
  await refused(
    { loss: { kind: 'siglip' } },
    /config\.lists names columns of lists.*"infonce", "multiple-negatives-ranking" take lists/,
  );
  await refused(
    { lists: ['query'] },
    /config\.lists is \["query"\]; some of the columns behind the anchor \(pos, neg\)/,
  );
  await refused({ lists: ['pos', 'negative'] }, /config\.lists is \["pos","negative"\]; some of the columns/);
  const usual = await writeRows(join(folder, 'usual.jsonl'), pairs(8));
  await refused(
    { data: usual, columns: undefined, lists: ['negative3'] },
    /config\.lists names "negative3", which the data has nothing in/,
  );
  await refused({ memory: { capacity: 9 } }, /which memory does not take/);
  await refused({ lists: ['pos'] }, /"neg" is \[\], not a text/);
  await refused({ lists: ['neg'] }, /"pos" is \[.*, not a text/);
  await refused(
    { prompts: { pos: { prefix: 'p' }, neg: { prefix: 'n', name: 'other' } } },
    /config\.prompts\.neg is another one/,
  );
  const none = await writeRows(join(folder, 'none.jsonl'), [{ query: 'a', pos: [], neg: [] }]);
  await refused({ data: none }, /"pos" is \[\], not a list of texts/);
});

test('spread rows know which candidates are whose', () => {
  const texts = { a: ['a', 'b'], p: ['["c", "d"]', '["e"]'], n: ['f', 'g'], l: ['[]', '["h", "i"]'] };
  const spread = spreadLists(texts, ['a', 'p', 'n', 'l'], ['p', 'l'], undefined);
  assert.deepEqual(spread, {
    towers: [
      ['a', 'b'],
      ['c', 'e'],
      ['f', 'g'],
    ],
    others: ['d', 'h', 'i'],
    options: { targets: [[0, 4], [1]], owners: [0, 1, 0, 1, 1] },
    rows: [
      ['a', 'c', 'd', 'f'],
      ['b', 'e', 'g', 'h', 'i'],
    ],
  });
});
