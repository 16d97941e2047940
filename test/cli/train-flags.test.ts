import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseFlags } from '../../lib/cli/flags.js';
import { flagOf, settingsOf, TRAIN_SECTIONS } from '../../lib/cli/train-flags.js';

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
  for (const which of ['given', 'any'] as const) {
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
    () => both('--resume', '--resume-from', 'a'),
    /--resume and --resume-from exclude each other/,
  );
});
