/*
 * Flags for several data sets. Each names the data set that it is of: `--dataset qa=qa.jsonl --dataset-weight qa=2`.
 */
import { FORMATS } from '../data/formats.js';
import { isPlainObject } from '../options/realms.js';
import { put } from './flag-settings.js';
import { repeated, text, UsageError, type Arguments, type Flags } from './flags.js';

/** Flags that say something of one data set, and the setting of it that each sets. */
const FIELDS = {
  'dataset-weight': 'weight',
  'dataset-columns': 'columns',
  'dataset-label': 'label',
  'dataset-ids': 'ids',
  'dataset-format': 'format',
  'dataset-prompt': 'prompts',
  'dataset-prompt-text': 'prompts',
} as const;

type FieldFlag = keyof typeof FIELDS;

/** Flags of `train` for several data sets. */
export const DATA_SET_FLAGS: Flags = {
  dataset: repeated(
    text(
      'NAME=FILE',
      'in place of --data: one of several data sets, of which each batch has one; may be repeated, also for more files of one',
    ),
  ),
  mixing: {
    ...text('KIND', 'how their batches follow each other: proportional (default) or round-robin', 'mixing'),
    choices: ['proportional', 'round-robin'],
  },
  'dataset-weight': repeated(
    text('NAME=W', 'how often its batches come: passes over it in an epoch, or batches in a turn; default 1'),
  ),
  'dataset-columns': repeated(text('NAME=A,B,C', 'its columns of texts; default: --columns, or what it has')),
  'dataset-label': repeated(text('NAME=COLUMN', 'its column of labels; default: --label, or what it has')),
  'dataset-ids': repeated(text('NAME=A,B', 'its columns of ids; default: --ids')),
  'dataset-format': repeated(
    text('NAME=FORMAT', `${FORMATS.join(', ')}; default: --format, or as files are called`),
  ),
  'dataset-prompt': repeated(text('NAME.COLUMN=PROMPT', 'as --prompt, for a column of a data set')),
  'dataset-prompt-text': repeated(text('NAME.COLUMN=TEXT', 'as --prompt-text, for a column of a data set')),
};

/** A data set of a configuration. */
type DataSet = Record<string, unknown>;

/**
 * Puts the flags over a configuration. Files that are named take the place of all data that the configuration has; the other flags set
 * something of a data set, of these or of the configuration.
 *
 * @throws UsageError
 */
export function putDataSets(merged: Record<string, unknown>, args: Arguments): void {
  const files = args.texts('dataset').map((given) => split('dataset', given, 'NAME=FILE'));
  if (args.get('data') !== undefined) {
    if (files.length > 0)
      throw new UsageError('--data and --dataset exclude each other: name all data by --dataset NAME=FILE.');
    delete merged['datasets'];
    if (args.get('mixing') === undefined) delete merged['mixing'];
  }
  if (files.length > 0) {
    delete merged['data'];
    merged['datasets'] = namesOf(args).map((name) => ({
      name,
      data: files.flatMap(([of, file]) => (of === name ? [file] : [])),
    }));
  }
  const given = new Set<string>();
  for (const flag of Object.keys(FIELDS) as FieldFlag[])
    for (const text of args.texts(flag)) {
      const [key, value] = split(flag, text, `${DATA_SET_FLAGS[flag]!.value}`);
      const setting = `${FIELDS[flag]} ${key}`;
      if (given.has(setting)) throw new UsageError(`--${flag} ${text}: that has been given already.`);
      given.add(setting);
      putField(merged, flag, key, value);
    }
}

function putField(merged: Record<string, unknown>, flag: FieldFlag, key: string, value: string): void {
  const isPrompt = FIELDS[flag] === 'prompts';
  const set = setNamed(merged, key, isPrompt);
  if (set === undefined) throw unknownSet(merged, flag, key, value);
  const [of, name] = set;
  if (isPrompt) {
    const column = key.slice(name.length + 1);
    put(of, ['prompts', column], flag === 'dataset-prompt' ? value : { prefix: value });
  } else of[FIELDS[flag]] = fieldOf(flag, key, value);
}

function fieldOf(flag: FieldFlag, name: string, value: string): unknown {
  if (flag === 'dataset-columns' || flag === 'dataset-ids')
    return value.split(',').map((column) => column.trim());
  if (flag !== 'dataset-weight') return value;
  const weight = Number(value);
  if (value.trim() === '' || Number.isNaN(weight))
    throw new UsageError(`--${flag} ${name}=${value}: ${JSON.stringify(value)} is not a number.`);
  return weight;
}

/** The data set that `NAME` names, or `NAME.COLUMN` the column of: of two that fit, the one with the longer name. */
function setNamed(
  merged: Record<string, unknown>,
  key: string,
  withColumn: boolean,
): [set: DataSet, name: string] | undefined {
  const fits = (name: string): boolean =>
    withColumn ? key.startsWith(`${name}.`) && key.length > name.length + 1 : key === name;
  const fitting = namedSets(merged).filter(([, name]) => fits(name));
  return fitting.sort(([, a], [, b]) => b.length - a.length)[0];
}

/** The data sets of a configuration that nothing has checked yet. */
function namedSets({ datasets }: Record<string, unknown>): [set: DataSet, name: string][] {
  if (!Array.isArray(datasets)) return [];
  return datasets.flatMap((set: unknown, place): [DataSet, string][] => {
    if (!isPlainObject(set)) return [];
    const { name = `data set ${place + 1}` } = set;
    return typeof name === 'string' ? [[set, name]] : [];
  });
}

function unknownSet(merged: Record<string, unknown>, flag: string, key: string, value: string): UsageError {
  const names = namedSets(merged).map(([, name]) => name);
  const what =
    names.length === 0 ? 'there are none: give --dataset NAME=FILE' : `these are ${names.join(', ')}`;
  return new UsageError(`--${flag} ${key}=${value} is for one of several data sets, and ${what}.`);
}

/** The names in `--dataset`, in the order of their data sets. */
function namesOf(args: Arguments): string[] {
  return [...new Set(args.texts('dataset').map((given) => split('dataset', given, 'NAME=FILE')[0]))];
}

/**
 * The flag that sets a setting of a data set which flags name, and what follows the flag; undefined for other settings.
 *
 * @param setting its path in a configuration, as `datasets[1].weight`
 */
export function dataSetFlagOf(
  setting: string,
  args: Arguments,
): { readonly flag: string; readonly key: string } | undefined {
  const [, place, field = '', inside = ''] = /^datasets\[(\d+)\](?:\.(\w+)(.*))?$/.exec(setting) ?? [];
  const name = place === undefined ? undefined : namesOf(args)[Number(place)];
  if (name === undefined) return undefined;
  const column = /^\.(.+?)(\.prefix)?$/.exec(inside)?.[1];
  const key = field === 'prompts' && column !== undefined ? `${name}.${column}` : name;
  const flag = (Object.keys(FIELDS) as FieldFlag[]).find(
    (each) => FIELDS[each] === field && args.texts(each).some((given) => given.startsWith(`${key}=`)),
  );
  return flag === undefined ? { flag: 'dataset', key: name } : { flag, key };
}

function split(flag: string, given: string, form: string): [key: string, value: string] {
  const [, key, value] = /^([^=]+)=(.+)$/s.exec(given) ?? [];
  if (key === undefined || value === undefined || /(^|\.)__proto__$/.test(key))
    throw new UsageError(`--${flag} is ${given}; write ${form}.`);
  return [key, value];
}
