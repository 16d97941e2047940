import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { mineCommand } from '../../lib/cli/mine.js';
import { CrossEncoder } from '../../lib/encoders/cross-encoder.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { pairs, root, saveTinyModel, temporaryFolder, TINY_CONFIG, writeRows } from '../training/support.js';
import { train } from '../../lib/training/train.js';
import { gradcache, runCommand } from './program.js';

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');

const rowsIn = async (path: string) =>
  (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('mines triplets that train takes as they are, with a corpus and a cache', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(12));
  await writeFile(join(folder, 'corpus.txt'), 'something else\nand more\n');
  const output = join(folder, 'triplets.jsonl');
  const cache = join(folder, 'cache');
  const args = ['--model', model, '--device', 'cpu', '--data', data, '--corpus', join(folder, 'corpus.txt')];
  const all = [...args, '--negatives', '2', '--cache', cache, '--output', output];
  const { code, stdout, stderr } = await gradcache(['mine', ...all]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Metric +Positive +Negative +Difference\nCount +12 +24\nMean/);
  assert.match(stdout, /triplets\.jsonl: 24 rows of 3 columns\n$/);
  const rows = await rowsIn(output);
  assert.equal(rows.length, 24);
  assert.deepEqual(Object.keys(rows[0]!), ['anchor', 'positive', 'negative']);
  assert.equal((await readdir(cache)).length, 2);

  // Again with another setting, from the cache; as CSV and as Parquet.
  const csv = join(folder, 'mined.csv');
  const tuples = ['--rows', 'n-tuple', '--negatives', '2', '--cache', cache, '--output', csv, '--json'];
  const again = await runCommand(mineCommand, [...args, ...tuples]);
  const told = JSON.parse(again.printed[0]!) as Record<string, unknown>;
  assert.equal(told.rows, 12);
  assert.equal((await readdir(cache)).length, 2);
  const [head, ...lines] = (await readFile(csv, 'utf8')).trimEnd().split('\n');
  assert.equal(head, 'anchor,positive,negative_1,negative_2');
  assert.equal(lines.length, 12);

  const parquet = join(folder, 'mined.parquet');
  await runCommand(mineCommand, [...args, '--scores', '--cache', cache, '--output', parquet]);

  for (const mined of [output, csv, parquet]) {
    const run = {
      model,
      data: mined,
      output: join(folder, `run-${mined.slice(-3)}`),
      device: 'cpu',
      batch: 2,
      epochs: 1,
    };
    const result = await train(run);
    assert.ok(result.steps > 0);
  }
});

test('a judge, lists with scores, and columns of other names', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const judge = join(folder, 'judge');
  using cross = CrossEncoder.create(TINY_CONFIG, await Tokenizer.fromFile(TOKENIZER));
  await cross.save(judge);
  const data = await writeRows(
    join(folder, 'pairs.jsonl'),
    pairs(8).map(({ anchor, positive }) => ({ question: anchor, answer: positive })),
  );
  const args = ['--model', model, '--device', 'cpu', '--data', data, '--columns', 'question,answer'];
  for (const by of [judge, model]) {
    const output = join(folder, 'lists.jsonl');
    const how = ['--judge', by, '--rows', 'labeled-list', '--scores', '--output', output];
    await runCommand(mineCommand, [...args, ...how]);
    const rows = await rowsIn(output);
    assert.equal(rows.length, 8);
    assert.deepEqual(Object.keys(rows[0]!), ['question', 'answer', 'scores']);
    assert.equal((rows[0]!.answer as string[]).length, 4);
    assert.equal((rows[0]!.scores as number[]).length, 4);
  }
});

test('a judge reads long documents in windows, and no other model does', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const judge = join(folder, 'judge');
  using cross = CrossEncoder.create(TINY_CONFIG, await Tokenizer.fromFile(TOKENIZER), {
    maxLength: 14,
    seed: 5,
  });
  await cross.save(judge);
  const rows = pairs(6);
  const long = (place: number) => [1, 2, 3, 0].map((k) => rows[(place + k) % 6]!.positive).join(' ');
  const data = await writeRows(
    join(folder, 'pairs.jsonl'),
    rows.map(({ anchor }, place) => ({ anchor, positive: long(place) })),
  );
  const output = join(folder, 'lists.jsonl');
  const args = ['--model', model, '--device', 'cpu', '--data', data, '--output', output];
  const how = ['--rows', 'labeled-list', '--scores', '--windows', '--window-overlap', '1'];
  await runCommand(mineCommand, [...args, ...how, '--judge', judge]);
  for (const { anchor, positive, scores } of (await rowsIn(output)) as unknown as Record<
    string,
    string[]
  >[]) {
    const texts = positive!.map((text): [string, string] => [anchor as unknown as string, text]);
    const expected = await cross.predict(texts, { windows: { overlap: 1 } });
    for (const [place, score] of (scores as unknown as number[]).entries())
      assert.ok(Math.abs(score - expected[place]!) < 1e-6);
  }
  const labels = join(folder, 'labels');
  using several = CrossEncoder.create(TINY_CONFIG, await Tokenizer.fromFile(TOKENIZER), { labels: 3 });
  await several.save(labels);
  for (const [message, ...judges] of [
    [/^--windows is for a --judge that is a cross-encoder, and there is none/],
    [/^--windows is for a --judge that is a cross-encoder, and .*model is none/, '--judge', model],
    [/^--judge is .*labels, which gives a pair 3 numbers; a cross-encoder with one label/, '--judge', labels],
    [/^--window-overlap is 9; less than 5 \(a window has 14/, '--judge', judge, '--window-overlap', '9'],
    [/^--judge-max-length is for a --judge, and there is none/, '--judge-max-length', '9'],
    [/^--judge-max-length is 900; .* is needed/, '--judge', judge, '--judge-max-length', '900'],
    [/^--judge-max-length is 4; .*each text of a pair/, '--judge', judge, '--judge-max-length', '4'],
  ] as const)
    await assert.rejects(
      runCommand(mineCommand, [...args, ...(judges[0]?.endsWith('length') ? [] : ['--windows']), ...judges]),
      { code: 'INPUT', message },
    );
});

test('a judge has a length limit of its own, and its long anchors are cut in windows', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const judge = join(folder, 'judge');
  const tokenizer = await Tokenizer.fromFile(TOKENIZER);
  using cross = CrossEncoder.create(TINY_CONFIG, tokenizer, { maxLength: 14, seed: 5 });
  await cross.save(judge);
  using short = await CrossEncoder.load(judge, { maxLength: 10 });
  const rows = pairs(6);
  const long = (place: number) => [1, 2, 3, 0].map((k) => rows[(place + k) % 6]!.positive).join(' ');
  const given = rows.map((_, place) => ({ anchor: long(place), positive: long(place + 1) }));
  const data = await writeRows(join(folder, 'pairs.jsonl'), given);
  const output = join(folder, 'lists.jsonl');
  const args = ['--model', model, '--device', 'cpu', '--data', data, '--output', output];
  const how = ['--rows', 'labeled-pair', '--scores', '--judge', judge, '--max-length', '12'];
  for (const [scorer, windows, ...flags] of [
    [cross, false],
    [short, false, '--judge-max-length', '10'],
    [short, true, '--judge-max-length', '10', '--windows'],
  ] as const) {
    await runCommand(mineCommand, [...args, ...how, ...flags]);
    for (const { anchor, positive, score } of await rowsIn(output)) {
      const [expected] = await scorer.predict([[String(anchor), String(positive)]], { windows });
      assert.ok(Math.abs(Number(score) - expected!) < 1e-6, flags.join(' '));
    }
  }
});

test('two processes mine what one does', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(10));
  const args = [
    'mine',
    '--model',
    model,
    '--device',
    'cpu',
    '--data',
    data,
    '--cache',
    join(folder, 'cache'),
  ];
  const outputs = [join(folder, 'two.jsonl'), join(folder, 'one.jsonl')];
  const two = await gradcache([...args, '--output', outputs[0]!, '--ranks', '2']);
  assert.equal(two.code, 0, two.stderr);
  assert.match(two.stdout, /two\.jsonl: 30 rows of 3 columns\n$/);
  await runCommand(mineCommand, [...args.slice(1), '--output', outputs[1]!]);
  assert.deepEqual(await rowsIn(outputs[0]!), await rowsIn(outputs[1]!));
});

test('a wrong call names the flag, and nothing is written', async (t) => {
  const folder = await temporaryFolder(t);
  const model = join(folder, 'model');
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(4));
  const args = ['--model', model, '--data', data];
  const output = ['--output', join(folder, 'out.jsonl')];
  for (const [given, message] of [
    [[], /--output/],
    [['--output', join(folder, 'out.txt')], /cannot be told from its name/],
    [[...output, '--range-max', '2'], /^--range-max is 2; at least/],
    [[...output, '--relative-margin', '-1'], /^--relative-margin is -1/],
    [[...output, '--rows', 'quads'], /^--rows is quads/],
    [[...output, '--include-positives', '--rows', 'triplet'], /^--rows is "triplet"/],
    [['--output', join(folder, 'out.csv'), '--scores'], /CSV has no lists/],
    [[...output, '--columns', 'a'], /--columns is a/],
    [[...output, '--corpus-column', 'a'], /^--corpus-column is the column of --corpus, which is not given/],
  ] as const)
    await assert.rejects(runCommand(mineCommand, [...args, ...given]), { message });
  assert.deepEqual((await readdir(folder)).sort(), ['pairs.jsonl']);
});
