import { DEFAULT_LOSS, LOSSES } from '../losses/loss-kinds.js';
import { DEFAULT_OPTIMIZER, OPTIMIZERS } from '../optim/optimizer-kinds.js';
import { isPlainObject } from '../options/realms.js';
import { UsageError } from './flags.js';
import type { Arguments } from './flags.js';
import { choiceHelp, flagsOf, type SettingFlag } from './setting-flags.js';

/** Flags of `gradcache train` by section; `sets` is the path of the setting in a configuration file. */
export const TRAIN_SECTIONS: Readonly<Record<string, Readonly<Record<string, SettingFlag>>>> = {
  'Model and data': {
    config: { kind: 'text', value: 'FILE', help: 'settings as JSON; flags win over it' },
    model: { kind: 'text', value: 'FOLDER', sets: 'model', help: 'model folder to start from' },
    'model-config': {
      kind: 'text',
      value: 'FILE',
      sets: 'model.config',
      help: 'start from random weights: a transformers config.json',
    },
    tokenizer: {
      kind: 'text',
      value: 'FILE',
      sets: 'model.tokenizer',
      help: 'tokenizer.json of a model from random weights',
    },
    pooling: {
      kind: 'text',
      value: 'KIND',
      sets: 'model.pooling',
      help: 'of a model from random weights: mean, cls, max or last',
    },
    data: {
      kind: 'text',
      value: 'FILE',
      sets: 'data',
      repeat: true,
      help: 'pairs: .jsonl, .csv, .tsv (.gz) or .parquet; may be repeated',
    },
    columns: {
      kind: 'list',
      value: 'A,B,C',
      sets: 'columns',
      help: 'anchor, positive, hard negatives; default anchor,positive and negative, negative2, … where there are',
    },
    header: {
      kind: 'switch',
      sets: 'header',
      onByDefault: true,
      help: 'the first line of a CSV or TSV file is a row; --columns names its fields',
    },
    fields: {
      kind: 'list',
      value: 'A,B,C',
      sets: 'header',
      help: 'names of all fields of a CSV or TSV file without a header; --columns picks some',
    },
    quoting: {
      kind: 'text',
      value: 'KIND',
      sets: 'quoting',
      help: 'quotes around fields: csv (default for .csv), none, or auto (default for .tsv): as the file looks',
    },
    format: {
      kind: 'text',
      value: 'FORMAT',
      sets: 'format',
      help: 'jsonl, csv, tsv or parquet, where the name does not tell',
    },
    'on-bad-line': { kind: 'text', value: 'ACTION', sets: 'onBadLine', help: 'throw (default) or skip' },
    prompt: {
      kind: 'text',
      value: 'COLUMN=NAME',
      repeat: true,
      help: "prompt of the model put before a column's texts; default none; may be repeated",
    },
    'prompt-text': {
      kind: 'text',
      value: 'COLUMN=TEXT',
      repeat: true,
      help: 'the words themselves; the model gets them as its prompt query (first column) or document',
    },
    'max-length': {
      kind: 'number',
      value: 'TOKENS',
      sets: 'maxLength',
      help: 'tokens of a text in training, longer texts are cut; the saved model keeps its own limit',
    },
    shuffle: { kind: 'switch', sets: 'shuffle', onByDefault: true, help: 'keep the order of the files' },
    'unique-texts': {
      kind: 'switch',
      sets: 'uniqueTexts',
      onByDefault: true,
      help: 'let a text be in a batch twice, its own negative',
    },
    output: {
      kind: 'text',
      value: 'FOLDER',
      sets: 'output',
      help: 'for the model, checkpoints and metrics.jsonl',
    },
  },
  'Batch and memory': {
    batch: { kind: 'number', sets: 'batch', help: 'pairs in a batch' },
    'chunk-sequences': { kind: 'number', sets: 'chunk.sequences', help: 'texts in the encoder at once' },
    'chunk-tokens': {
      kind: 'number',
      sets: 'chunk.tokens',
      help: 'tokens in the encoder at once; default: automatic',
    },
    retain: {
      kind: 'bytes',
      value: 'BYTES',
      sets: 'retain',
      words: ['last', 'auto'],
      help: 'memory for graphs kept from the first pass: 8GiB, auto (all that is left) or last (default)',
    },
    device: { kind: 'text', value: 'DEVICE', sets: 'device', help: 'cpu, cuda, cuda:1 or auto (default)' },
    precision: {
      kind: 'text',
      value: 'TYPE',
      sets: 'precision',
      help: 'float32 (default), bfloat16 or float64',
    },
  },
  Loss: {
    loss: { kind: 'text', value: 'NAME', sets: 'loss.kind', help: choiceHelp(LOSSES, DEFAULT_LOSS) },
    ...flagsOf('loss', LOSSES),
  },
  Optimisation: {
    epochs: { kind: 'number', sets: 'epochs', help: 'passes over the data; default 1' },
    steps: { kind: 'number', sets: 'steps', help: 'updates, in place of epochs' },
    optimizer: {
      kind: 'text',
      value: 'NAME',
      sets: 'optimizer.kind',
      help: choiceHelp(OPTIMIZERS, DEFAULT_OPTIMIZER),
    },
    ...flagsOf('optimizer', OPTIMIZERS),
    schedule: {
      kind: 'text',
      value: 'KIND',
      sets: 'schedule.kind',
      help: 'linear (default), cosine or constant',
    },
    warmup: {
      kind: 'number',
      sets: 'schedule.warmup',
      help: 'steps, or a part of all steps (rounded up) below 1; default 0.1',
    },
    dropout: { kind: 'number', value: 'P', sets: 'dropout', help: "default: the model's" },
    seed: { kind: 'number', sets: 'seed', help: 'default 1; the same seed gives the same run' },
  },
  'Evaluation and checkpoints': {
    'eval-task': { kind: 'text', value: 'TASK', sets: 'evaluation.task', help: 'retrieval (default) or sts' },
    'eval-data': {
      kind: 'text',
      value: 'FILE',
      sets: 'evaluation.data',
      help: 'held-out pairs, or sentences with scores',
    },
    'eval-columns': {
      kind: 'list',
      value: 'A,B[,C]',
      sets: 'evaluation.columns',
      help: 'its columns; default: the first two of --columns, or sentence1,sentence2,score',
    },
    'eval-format': {
      kind: 'text',
      value: 'FORMAT',
      sets: 'evaluation.format',
      help: 'jsonl, csv, tsv or parquet, where its name does not tell',
    },
    'eval-header': {
      kind: 'switch',
      sets: 'evaluation.header',
      onByDefault: true,
      help: 'the first line of a CSV or TSV file is a row; --eval-columns names its fields',
    },
    'eval-fields': {
      kind: 'list',
      value: 'A,B,C',
      sets: 'evaluation.header',
      help: 'names of all fields of a CSV or TSV file without a header; --eval-columns picks some',
    },
    'eval-quoting': {
      kind: 'text',
      value: 'KIND',
      sets: 'evaluation.quoting',
      help: 'quotes around its fields: csv, none or auto',
    },
    'eval-every': {
      kind: 'number',
      value: 'STEPS',
      sets: 'evaluation.every',
      help: 'default: only at the end',
    },
    'checkpoint-every': {
      kind: 'number',
      value: 'STEPS',
      sets: 'checkpoint.every',
      help: 'default: none but the finished model',
    },
    'checkpoint-keep': {
      kind: 'number',
      value: 'N',
      sets: 'checkpoint.keep',
      help: 'newest checkpoints to keep; default 2',
    },
    resume: { kind: 'switch', sets: 'resume', help: 'go on from the newest checkpoint in --output' },
    'resume-from': { kind: 'text', value: 'FOLDER', sets: 'resume', help: 'go on from this checkpoint' },
  },
};

/** Flags that exclude each other, and the setting that one of them takes out of the configuration file. */
const RIVALS: readonly { readonly flags: readonly string[]; readonly replaces?: readonly string[] }[] = [
  { flags: ['epochs', 'steps'], replaces: ['epochs', 'steps'] },
  { flags: ['chunk-sequences', 'chunk-tokens'], replaces: ['chunk'] },
  { flags: ['resume', 'resume-from'] },
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
  for (const { flags, replaces = [] } of RIVALS) {
    const given = flags.filter((name) => args.get(name) !== undefined);
    if (given.length > 1)
      throw new UsageError(`--${given.join(' and --')} exclude each other: give one of them.`);
    if (given.length > 0) for (const name of replaces) delete merged[name];
  }
  const given = settings().filter(([name]) => args.get(name) !== undefined);
  for (const [name, { sets, hidden }] of given) {
    const [other] = given.find((flag) => flag[0] !== name && flag[1].sets === sets) ?? [];
    if (hidden === true && other !== undefined)
      throw new UsageError(`--${other} and --${name} are the same setting: give one of them.`);
  }
  for (const [header, fields] of HEADERS) {
    if (args.get(header) === true && args.get(fields) !== undefined)
      throw new UsageError(
        `--${header} and --${fields} contradict each other: --${fields} is for a file without a header.`,
      );
  }
  const random = ['model-config', 'tokenizer', 'pooling'].find((name) => args.get(name) !== undefined);
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
  for (const [name, { sets }] of settings()) {
    const value = args.get(name);
    if (value !== undefined && sets !== undefined) put(merged, sets.split('.'), value);
  }
  putPrompts(merged, args);
  return merged;
}

/** Whether a run goes on from a checkpoint. */
export function isResumed({ resume }: Readonly<Record<string, unknown>>): boolean {
  return resume !== undefined && resume !== null && resume !== false;
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
  for (const [name, { sets }] of settings())
    if (sets !== undefined) (args.get(name) === undefined ? others : given).push([name, sets]);
  for (const flag of PROMPT_FLAGS)
    for (const text of args.texts(flag)) given.push([flag, `prompts.${text.split('=')[0]}`]);
  given.reverse(); // of two that set the same, the later has won
  for (const flags of which === 'given' ? [given] : [given, others]) {
    const fitting = flags.filter(([, sets]) => sets === setting || setting.startsWith(`${sets}.`));
    // The one that sets nothing but this.
    const [best] = fitting.sort(([, a], [, b]) => b.length - a.length);
    if (best !== undefined) return best[0];
  }
  return undefined;
}

const PROMPT_FLAGS = ['prompt', 'prompt-text'] as const;

function putPrompts(merged: Record<string, unknown>, args: Arguments): void {
  const given = new Set<string>();
  for (const flag of PROMPT_FLAGS) {
    for (const text of args.texts(flag)) {
      const [, column, prompt] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
      if (column === undefined || prompt === undefined || column === '__proto__')
        throw new UsageError(`--${flag} is ${text}; write COLUMN=${flag === 'prompt' ? 'NAME' : 'TEXT'}.`);
      if (given.has(column))
        throw new UsageError(`--${flag} ${text}: ${column} has been given a prompt already.`);
      given.add(column);
      put(merged, ['prompts', column], flag === 'prompt' ? prompt : { prefix: prompt });
    }
  }
}

function settings(): [string, SettingFlag][] {
  return Object.values(TRAIN_SECTIONS).flatMap((section) => Object.entries(section));
}

function put(object: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [first, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) {
    object[first] = value;
    return;
  }
  object[first] ??= {};
  const inner = object[first];
  // Where the configuration file has something else, the reader of settings refuses it.
  if (isPlainObject(inner)) put(inner, rest, value);
}
