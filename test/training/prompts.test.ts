import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import type { TrainConfig } from '../../lib/training/config.js';
import { pairs, record, shortRun, writeRows } from './support.js';

test('three columns train with hard negatives, and prompts are put before their column', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs().map((row, index, all) => ({
    ...row,
    negative: `${all[(index + 7) % all.length]!.positive} indeed`,
  }));
  const data = await writeRows(join(folder, 'triplets.jsonl'), rows);
  const { steps } = await record({ ...config, data, columns: ['anchor', 'positive', 'negative'], steps: 2 });
  assert.equal(steps[0]!.chunks, 9);
  await assert.rejects(record({ ...config, output: join(folder, 'x'), prompts: { anchor: 'query' } }), {
    code: 'INPUT',
    message: /query/,
  });
});

test('only the prompts of the run are put before texts; words are saved with the model, under a name', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs().map((row, place) => ({ ...row, negative: `a stone ${place}` }));
  const data = await writeRows(join(folder, 'triplets.jsonl'), rows);
  const withDefault = join(folder, 'with-default');
  const source = await TextEncoder.load(config.model as string);
  source.setPrompt('document', 'a text of ');
  await source.save(withDefault);
  source.dispose();
  const file = join(withDefault, 'config_sentence_transformers.json');
  const written = JSON.parse(await readFile(file, 'utf8')) as object;
  await writeFile(file, JSON.stringify({ ...written, default_prompt_name: 'document' }));
  let runs = 0;
  const run = async (model: string, change: Partial<TrainConfig>, texts: readonly object[] = rows) => {
    const output = join(folder, String(runs++));
    const file = texts === rows ? data : await writeRows(`${output}.jsonl`, texts);
    const { steps } = await record({ ...config, model, data: file, output, steps: 2, ...change });
    return { losses: steps.map(({ loss }) => loss), output };
  };
  // The model's default prompt is for encoding.
  const plain = await run(config.model as string, {});
  assert.deepEqual((await run(withDefault, {})).losses, plain.losses);
  // Words are the same as the texts with them in front; negatives that no one names have those of the positives.
  const inFront = rows.map(({ anchor, positive, negative }) => ({
    anchor: `find the ${anchor}`,
    positive: `a text of ${positive}`,
    negative: `a text of ${negative}`,
  }));
  const expected = (await run(config.model as string, {}, inFront)).losses;
  assert.notDeepEqual(expected, plain.losses);
  const words = { anchor: { prefix: 'find the ' }, positive: { prefix: 'a text of ' } };
  const byWords = await run(config.model as string, { prompts: words });
  assert.deepEqual(byWords.losses, expected);
  const trained = await TextEncoder.load(join(byWords.output, 'model'));
  assert.deepEqual(trained.prompts, { query: 'find the ', document: 'a text of ' });
  trained.dispose();
  // By name, of the model's own; a prompt for a negative that the configuration does not list as a column.
  const named = {
    anchor: { prefix: 'find the ', name: 'search' },
    positive: 'document',
    negative: 'document',
  };
  assert.deepEqual((await run(withDefault, { prompts: named })).losses, expected);
  const other = inFront.map((row, place) => ({ ...row, negative: `not ${rows[place]!.negative}` }));
  const wrong = { ...words, negative: { prefix: 'not ', name: 'wrong' } };
  assert.deepEqual(
    (await run(config.model as string, { prompts: wrong })).losses,
    (await run(config.model as string, {}, other)).losses,
  );
  await assert.rejects(run(withDefault, { prompts: { positive: { prefix: 'other ' } } }), {
    code: 'INPUT',
    message: /would be saved as "document", but that name stands for "a text of " already/,
  });
  await assert.rejects(run(config.model as string, { prompts: { negative_3: 'document' } }), {
    code: 'INPUT',
    message: /config\.prompts\.negative_3 is for a column that the data has nothing in/,
  });
});
