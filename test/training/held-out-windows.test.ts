import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { CrossEncoder } from '../../lib/encoders/cross-encoder.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { evaluateReranking } from '../../lib/evaluation/reranking.js';
import { evaluateRetrieval } from '../../lib/evaluation/retrieval.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import { readRetrievalPairs } from '../../lib/evaluation/tasks.js';
import { windowedEncoder } from '../../lib/evaluation/windowed.js';
import { parseFlags } from '../../lib/cli/parse-flags.js';
import { TRAIN_SECTIONS } from '../../lib/cli/train-flags.js';
import { settingsOf } from '../../lib/cli/train-settings.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { resumeConfig } from '../../lib/training/resume-pairs.js';
import { pairs, record, root, shortRun, TINY_CONFIG, writeRows } from './support.js';

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');
const rows = pairs(12);
/** A text of four of the texts, of which the first is not what it is about. */
const long = (place: number): string => [1, 2, 3, 0].map((k) => rows[(place + k) % 12]!.positive).join(' ');

test('held-out texts are read in windows, of the models that can', async (t) => {
  const { folder, config } = await shortRun(t);
  const held = await writeRows(
    join(folder, 'held.jsonl'),
    rows.map(({ anchor }, place) => ({ anchor, positive: long(place) })),
  );
  const short = { ...config, steps: 1, maxLength: 12, dropout: 0 } as const;
  const fresh = (pooling: 'none' | 'splade') => ({ config: TINY_CONFIG, tokenizer: TOKENIZER, pooling });
  const windows = { windows: true, windowOverlap: 3 };
  for (const [pooling, kind] of [
    ['splade', 'splade'],
    ['none', 'multi-vector-multiple-negatives-ranking'],
  ] as const) {
    const output = join(folder, pooling);
    const run = { ...short, model: fresh(pooling), loss: { kind }, output };
    const { events } = await record({ ...run, evaluation: { data: held, ...windows } });
    const { scores } = events.find((event) => event.type === 'evaluation')!;
    using model = await TextEncoder.load(join(output, 'model'), { maxLength: 12, device: 'cpu' });
    const task = await readRetrievalPairs(held);
    const measure = async (windows: { overlap: number } | undefined) =>
      flattenScores(
        await evaluateRetrieval(windowedEncoder(model, windows), task, {
          prompts: { query: '', document: '' },
        }),
      );
    const expected = await measure({ overlap: 3 });
    for (const [name, value] of Object.entries(expected))
      assert.ok(Math.abs(scores[name]! - value) < 1e-6, `${pooling}, ${name}: ${scores[name]}, ${value}`);
    assert.notDeepEqual(expected, await measure(undefined), 'windows make a difference here');
  }
  const queries = rows.map(({ anchor }, place) => ({
    query: anchor,
    positive: [long(place)],
    negative: [long(place + 4), long(place + 8)],
  }));
  const data = await writeRows(join(folder, 'lists.jsonl'), queries);
  const output = join(folder, 'pairs');
  const ranking = { ...short, maxLength: 16, loss: { kind: 'cross-encoder-ranking' }, newHead: 1 } as const;
  const { events } = await record({ ...ranking, output, evaluation: { sets: { a: { data, ...windows } } } });
  const { scores } = events.find((event) => event.type === 'evaluation')!;
  using model = await CrossEncoder.load(join(output, 'model'), { maxLength: 16, device: 'cpu' });
  const inWindows = {
    predict: (texts: readonly (readonly [string, string])[]) =>
      model.predict(texts, { windows: { overlap: 3 } }),
  };
  assert.ok(Math.abs(scores['a.map']! - (await evaluateReranking(inWindows, { queries })).map) < 1e-6);

  for (const [settings, message] of [
    [
      { ...short, evaluation: { data: held, windows: true } },
      /config\.evaluation\.windows is true; false, or nothing, for a model with one dense representation/,
    ],
    [
      { ...ranking, evaluation: { data, windows: true, windowOverlap: 7 } },
      /config\.evaluation\.windowOverlap is 7; less than 6 \(a window has 16 tokens/,
    ],
  ] as const)
    await assert.rejects(record({ ...settings, output: join(folder, 'refused') }), {
      code: 'INPUT',
      message,
    });
});

test('settings of windows are read from flags, and refused where they would do nothing', () => {
  const flags = Object.assign({}, ...Object.values(TRAIN_SECTIONS)) as (typeof TRAIN_SECTIONS)[string];
  const base = ['--model', 'm', '--data', 'd.jsonl', '--output', 'o', '--batch', '4'];
  const read = (...given: string[]) =>
    readTrainConfig(settingsOf(parseFlags(flags, [...base, ...given]), {})).evaluation!;
  const { windows, windowOverlap } = read(
    '--eval-data',
    'h.jsonl',
    '--eval-windows',
    '--eval-window-overlap',
    '0',
  );
  assert.deepEqual([windows, windowOverlap], [true, 0]);
  const set = ['--eval-set', 'a=h.jsonl', '--eval-set', 'a.windows=true', '--eval-set', 'a.windowOverlap=4'];
  const { a } = read(...set).sets!;
  assert.deepEqual([a!.windows, a!.windowOverlap], [true, 4]);
  for (const [message, ...given] of [
    [/evaluation\.windowOverlap is of windows, and there are none/, '--eval-window-overlap', '4'],
    [/evaluation\.windows is for a task, and the loss is measured alone/, '--eval-loss', '--eval-windows'],
  ] as const)
    assert.throws(() => read('--eval-data', 'h.jsonl', ...given), { code: 'INPUT', message });
});

test('windows that are turned off take their overlap with them: that of a configuration file, and of a run that is resumed', () => {
  const flags = Object.assign({}, ...Object.values(TRAIN_SECTIONS)) as (typeof TRAIN_SECTIONS)[string];
  const evaluation = { data: 'h.jsonl', windows: true, windowOverlap: 4 };
  const file = { model: 'm', data: 'd.jsonl', output: 'o', batch: 4, evaluation };
  const put = (...given: string[]) => settingsOf(parseFlags(flags, given), file);
  const { windows, windowOverlap } = readTrainConfig(put('--no-eval-windows')).evaluation!;
  assert.deepEqual([windows, windowOverlap], [false, undefined]);
  const state = { step: 1, order: {}, config: { ...file, output: undefined } };
  const resumed = { folder: 'run', checkpoint: { state, optimizer: new Map(), loss: new Map() } };
  const resume = (evaluation: object) => resumeConfig({ output: 'run', evaluation }, resumed);
  const { config, notes } = resume({ windows: false });
  assert.deepEqual([config.evaluation!.windows, config.evaluation!.windowOverlap], [false, undefined]);
  assert.deepEqual(notes, [
    'evaluation.windows was true, now false',
    'evaluation.windowOverlap was 4, now not set',
  ]);
  assert.equal(resume({ windows: true }).config.evaluation!.windowOverlap, 4);
  // Both at once contradict each other.
  const message = /evaluation\.windowOverlap is of windows, and there are none/;
  assert.throws(() => resume({ windows: false, windowOverlap: 4 }), { code: 'INPUT', message });
  assert.throws(() => readTrainConfig(put('--no-eval-windows', '--eval-window-overlap', '4')), {
    code: 'INPUT',
    message,
  });
});
