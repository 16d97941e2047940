/*
 * How the flags of `gradcache train` are put over a configuration, and the way back: from a setting to the flag that sets it.
 */
import { typedDelimiter } from '../data/delimiter.js';
import { isPlainObject } from '../options/realms.js';
import { UsageError, type Arguments } from './flags.js';
import {
  allFlags,
  narrowest,
  put,
  putFlags,
  refuseRivals,
  refuseTwice,
  type Rivals,
} from './flag-settings.js';
import { putDataSets } from './data-set-flags.js';
import { makeRoomForCheckpoints, RUN_RIVALS } from './run.js';
import { makeRoomForNoWindows, putSets, setsGiven } from './train-evaluation-flags.js';
import { TRAIN_SECTIONS } from './train-flags.js';

const FLAGS = allFlags(TRAIN_SECTIONS);

const RIVALS: readonly Rivals[] = [
  ...RUN_RIVALS,
  { flags: ['chunk-sequences', 'chunk-tokens'], replaces: ['chunk'] },
];

/** Flags for a file with a header, and those for one without. */
const HEADERS = [
  ['header', 'fields'],
  ['eval-header', 'eval-fields'],
] as const;

/**
 * Puts the flags over a configuration.
 *
 * @returns a new object; `config` stays as it is
 */
export function settingsOf(
  args: Arguments,
  config: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged = structuredClone(config) as Record<string, unknown>;
  refuseRivals(RIVALS, args, merged);
  refuseTwice(FLAGS, args);
  for (const [header, fields] of HEADERS) {
    if (args.get(header) === true && args.get(fields) !== undefined)
      throw new UsageError(
        `--${header} and --${fields} contradict each other: --${fields} is for a file without a header.`,
      );
  }
  const unpooled = args.text('pooling') === 'none'; // a model folder can be made so too
  const random = ['model-config', 'tokenizer', 'pooling'].find(
    (name) => args.get(name) !== undefined && !(name === 'pooling' && unpooled),
  );
  if (args.text('model') !== undefined && random !== undefined)
    throw new UsageError(
      `--model starts from a model and --${random} from random weights: give one of them.`,
    );
  if (random !== undefined && typeof merged.model === 'string') {
    if (args.text('model-config') === undefined)
      throw new UsageError(
        `--${random} is for random weights, and the configuration file starts from a model: give --model-config too.`,
      );
    delete merged.model;
  }
  makeRoomForCheckpoints(args, merged);
  makeRoomForNoWindows(args, merged);
  putFlags(FLAGS, args, merged);
  for (const [flag, path] of [
    ['delimiter', ['delimiter']],
    ['eval-delimiter', ['evaluation', 'delimiter']],
  ] as const) {
    const typed = args.text(flag);
    if (typed !== undefined) put(merged, path, typedDelimiter(typed));
  }
  putSets(merged, args);
  putPrompts(merged, args);
  putDataSets(merged, args);
  return merged;
}

/**
 * The flag that sets a setting, without its dashes: where several can set it, the one that was given.
 *
 * @param setting its path in a configuration
 * @param which whether the flag must have been given
 */
export function flagOf(setting: string, args: Arguments, which: 'given' | 'any'): string | undefined {
  const given: [string, string][] = [];
  const others: [string, string][] = PROMPT_FLAGS.map((name) => [name, 'prompts']);
  others.push(['eval-set', 'evaluation.sets']);
  for (const [name, { sets }] of FLAGS)
    if (sets !== undefined) (args.get(name) === undefined ? others : given).push([name, sets]);
  for (const flag of PROMPT_FLAGS)
    for (const text of args.texts(flag)) {
      const setting = `prompts.${text.split('=')[0]}`;
      given.push([flag, flag === 'prompt-name' ? `${setting}.name` : setting]);
    }
  for (const setting of setsGiven(args)) given.push(['eval-set', setting]);
  given.reverse(); // of two that set the same, the later has won
  return narrowest(setting, which === 'given' ? [given] : [given, others]);
}

const PROMPT_FLAGS = ['prompt', 'prompt-text', 'prompt-name'] as const;

function putPrompts(merged: Record<string, unknown>, args: Arguments): void {
  const given = new Set<string>();
  for (const flag of PROMPT_FLAGS) {
    for (const text of args.texts(flag)) {
      const [, column, value] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
      if (column === undefined || value === undefined || column === '__proto__')
        throw new UsageError(
          `--${flag} is ${text}; write COLUMN=${flag === 'prompt-text' ? 'TEXT' : 'NAME'}.`,
        );
      const key = flag === 'prompt-name' ? `the name of ${column}'s prompt` : `the prompt of ${column}`;
      if (given.has(key)) throw new UsageError(`--${flag} ${text}: ${key} has been given already.`);
      given.add(key);
      if (flag === 'prompt') put(merged, ['prompts', column], value);
      else if (flag === 'prompt-text') put(merged, ['prompts', column], { prefix: value });
      else putName(merged, column, value);
    }
  }
}

function putName(merged: Record<string, unknown>, column: string, name: string): void {
  const { prompts } = merged;
  const words = isPlainObject(prompts) && Object.hasOwn(prompts, column) ? prompts[column] : undefined;
  if (!isPlainObject(words))
    throw new UsageError(
      `--prompt-name ${column}=${name} names words that are not given: give --prompt-text ${column}=TEXT too.`,
    );
  words.name = name;
}
