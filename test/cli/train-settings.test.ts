import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFlags } from '../../lib/cli/parse-flags.js';
import { TRAIN_SECTIONS } from '../../lib/cli/train-flags.js';
import { flagOf, settingsOf } from '../../lib/cli/train-settings.js';

const flags = Object.assign({}, ...Object.values(TRAIN_SECTIONS)) as (typeof TRAIN_SECTIONS)[string];

/** A value that a flag of this kind takes. */
const VALUES = {
  text: ['cpu'],
  number: ['3'],
  numbers: ['1,2'],
  bytes: ['1GiB'],
  list: ['a,b'],
  switch: [],
} as const;

test('a mistake in a setting is told by the flag that was given, where several could set it', () => {
  for (const [name, { sets, kind }] of Object.entries(flags)) {
    if (sets === undefined) continue;
    const args = parseFlags(flags, [`--${name}`, ...VALUES[kind]]);
    for (const which of ['given', 'any'] as const) assert.equal(flagOf(sets, args, which), name);
  }
  const args = parseFlags(flags, ['--prompt', 'anchor=query', '--prompt-text', 'positive=a: =b']);
  const named = parseFlags(flags, ['--prompt-text', 'positive=b', '--prompt-name', 'positive=c']);
  for (const which of ['given', 'any'] as const) {
    assert.equal(flagOf('prompts.positive.name', named, which), 'prompt-name');
    assert.equal(flagOf('prompts.positive.prefix', named, which), 'prompt-text');
    assert.equal(flagOf('prompts.anchor', args, which), 'prompt');
    assert.equal(flagOf('prompts.positive', args, which), 'prompt-text');
    assert.equal(flagOf('prompts.positive.prefix', args, which), 'prompt-text');
  }
  assert.equal(flagOf('prompts.anchor', parseFlags(flags, []), 'given'), undefined);
  assert.equal(flagOf('prompts.anchor', parseFlags(flags, []), 'any'), 'prompt');
});

test('no flag is without effect because another one sets the same setting', () => {
  const both = (...given: string[]) => settingsOf(parseFlags(flags, given), {});
  for (const prefix of ['', 'eval-']) {
    assert.throws(
      () => both(`--${prefix}header`, `--${prefix}fields`, 'a,b'),
      new RegExp(`--${prefix}header and --${prefix}fields contradict each other`),
    );
    both(`--no-${prefix}header`, `--${prefix}fields`, 'a,b');
  }
  assert.throws(
    () => both('--no-checkpoint', '--checkpoint-every', '5'),
    /--no-checkpoint and --checkpoint-every exclude each other/,
  );
  assert.throws(
    () => both('--resume', '--resume-from', 'a'),
    /--resume and --resume-from exclude each other/,
  );
});

test('a flag inside a section never hides that the configuration file has something else there', () => {
  for (const section of ['loss', 'optimizer', 'schedule', 'evaluation', 'checkpoint', 'prompts']) {
    for (const [name, { sets, kind }] of Object.entries(flags)) {
      if (sets?.startsWith(`${section}.`) !== true) continue;
      for (const wrong of ['name', 7, ['name'], true]) {
        if (section === 'checkpoint' && wrong === true) continue; // a value of that setting: the next test
        const merged = settingsOf(parseFlags(flags, [`--${name}`, ...VALUES[kind]]), { [section]: wrong });
        assert.deepEqual(merged[section], wrong, name);
      }
    }
  }
  const prompted = settingsOf(parseFlags(flags, ['--prompt', 'anchor=query']), { prompts: 'query' });
  assert.equal(prompted.prompts, 'query');
});

test('words of a prompt get the name that a flag gives, whether a flag or the file gives the words', () => {
  const name = ['--prompt-name', 'third=c'];
  const words = { third: { prefix: 'a=b ' } };
  const expected = { third: { prefix: 'a=b ', name: 'c' } };
  const prompts = (given: string[], file: Record<string, unknown>) =>
    settingsOf(parseFlags(flags, given), file).prompts;
  assert.deepEqual(prompts(['--prompt-text', 'third=a=b ', ...name], {}), expected);
  assert.deepEqual(prompts(name, { prompts: words }), expected);
  assert.deepEqual(words, { third: { prefix: 'a=b ' } });
  for (const file of [{}, { prompts: { third: 'query' } }, { prompts: 'query' }])
    assert.throws(() => prompts(name, file), /--prompt-name third=c .*--prompt-text third=TEXT/);
});

test('flags of random weights over a file that starts from a model', () => {
  const over = (...given: string[]) => settingsOf(parseFlags(flags, given), { model: 'folder' }).model;
  assert.throws(() => over('--pooling', 'cls'), /--pooling is for random weights.* give --model-config too/);
  assert.deepEqual(over('--model-config', 'a', '--tokenizer', 'b'), { config: 'a', tokenizer: 'b' });
});

test('held-out data that is given to a resumed run is measured by the task of before', () => {
  const given = ['--resume', '--output', 'a', '--eval-data', 'b'];
  assert.deepEqual(settingsOf(parseFlags(flags, given), {}).evaluation, { data: 'b' });
});

test('named sets of held-out data are put over those of the configuration file, each setting by its kind', () => {
  const evaluation = (...given: string[]) =>
    settingsOf(
      parseFlags(
        flags,
        given.flatMap((each) => ['--eval-set', each]),
      ),
      {
        evaluation: { every: 5, sets: { sts: { task: 'sts', data: 'old' } } },
      },
    ).evaluation;
  const given = ['sts=a=b.tsv', 'sts.header=score,a,b', 'sts.delimiter=\\t', 'x.header=false'];
  const more = ['x.dimensions=4,8', 'x.measures=map@5,mrr@3', 'x.loss=true'];
  assert.deepEqual(evaluation(...given, ...more), {
    every: 5,
    sets: {
      sts: { task: 'sts', data: 'a=b.tsv', header: ['score', 'a', 'b'], delimiter: '\t' },
      x: { header: false, dimensions: [4, 8], measures: ['map@5', 'mrr@3'], loss: true },
    },
  });
  assert.deepEqual(Object.keys((evaluation('constructor=c.jsonl') as { sets: object }).sets), [
    'sts',
    'constructor',
  ]);
  const wrong: [string, RegExp][] = [
    ['sts.tasks=sts', /tasks is not a setting of held-out data; did you mean task\?/],
    ['sts.csv', /--eval-set is sts\.csv; write NAME=FILE/],
    ['sts=b', /sts\.data has been given already/],
    ['__proto__.task=sts', /write NAME=FILE/],
    ['sts.data=b', /sts\.data has been given already/],
  ];
  for (const [each, message] of wrong) assert.throws(() => evaluation(...given, each), message);
});

test('flags of checkpoints count where the configuration file turns all of them off', () => {
  const merged = (given: string[], config: object) => settingsOf(parseFlags(flags, given), { ...config });
  for (const checkpoint of [true, false])
    assert.deepEqual(merged(['--checkpoint-every', '5'], { checkpoint }).checkpoint, { every: 5 });
  assert.equal(merged(['--no-checkpoint'], { checkpoint: { every: 5 } }).checkpoint, false);
});

test('--resume takes a folder or none, and what follows it stays what it is', () => {
  const of = (...given: string[]) => settingsOf(parseFlags(flags, given), {});
  assert.deepEqual(of('--resume'), { resume: true });
  assert.deepEqual(of('--resume', 'runs/a'), { resume: 'runs/a' });
  assert.deepEqual(of('--resume=runs/a'), { resume: 'runs/a' });
  assert.deepEqual(of('--resume', '--output', 'runs/a'), { resume: true, output: 'runs/a' });
  assert.deepEqual(of('--output', 'runs/a', '--no-resume'), { resume: false, output: 'runs/a' });
  assert.throws(() => of('--resume', 'runs/a', 'b'), /"b" belongs to no flag/);
});
