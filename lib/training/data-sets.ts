/*
 * Several data sets that a run trains on together: their settings, and what they have in common.
 */
import type { DataFormat } from '../data/record-options.js';
import type { Quoting } from '../data/quoting.js';
import { Fields, refuse, SettingError } from '../options/fields.js';
import { show } from '../options/option-values.js';
import { plural } from '../options/plural.js';
import type { PromptWords } from './config.js';
import { readLayout } from './read-evaluation.js';

/** The places of all batches of an epoch are held in memory. */
const MOST_WEIGHT = 10_000;

/** How batches of several data sets follow each other. */
export const MIXINGS = ['proportional', 'round-robin'] as const;

/** The prompts of columns, filled in. */
export type Prompts = Readonly<Record<string, string | Required<PromptWords>>>;

/** One of several data sets. Each batch is of one of them. */
export interface FilledDataSet {
  readonly name: string;
  readonly data: readonly string[];
  readonly weight: number;
  /** Undefined: those of the run, or what its data has. */
  readonly columns: readonly string[] | undefined;
  readonly label: string | undefined;
  readonly weights: string | undefined;
  readonly ids: readonly string[] | undefined;
  readonly format: DataFormat | undefined;
  readonly header: boolean | readonly string[] | undefined;
  readonly quoting: Quoting | undefined;
  readonly delimiter: string | undefined;
  readonly prompts: Prompts;
}

/**
 * Reads the data sets of a configuration; undefined where it has none.
 *
 * @param readPrompts reads the prompts of one
 * @throws SettingError
 */
export function readDataSets(
  fields: Fields,
  mixing: (typeof MIXINGS)[number] | undefined,
  readPrompts: (fields: Fields, names: readonly string[] | undefined) => Prompts,
): FilledDataSet[] | undefined {
  const given = fields.raw('datasets');
  if (given === undefined) return undefined;
  if (!Array.isArray(given) || given.length === 0)
    throw refuse(fields.at('datasets'), given, 'a list of objects, each with data,');
  const sets = given.map((each: unknown, place) => {
    const own = new Fields(each, `${fields.at('datasets')}[${place}]`);
    const columns = own.strings('columns');
    const set: FilledDataSet = {
      name: own.string('name') ?? `data set ${place + 1}`,
      data: own.strings('data') ?? own.missing('data', 'give the path of a file of pairs, or a list of them'),
      weight: own.number('weight', { above: 0, to: MOST_WEIGHT }) ?? 1,
      columns,
      label: own.string('label'),
      weights: own.string('weights'),
      ids: own.strings('ids'),
      ...readLayout(own),
      prompts: own.section('prompts', (prompts) => readPrompts(prompts, columns)) ?? {},
    };
    own.done();
    if (mixing === 'round-robin' && !Number.isInteger(set.weight))
      throw refuse(own.at('weight'), set.weight, 'a whole number of batches in each turn, for round-robin,');
    return set;
  });
  const names = sets.map(({ name }) => name);
  const twice = names.findIndex((name, place) => names.indexOf(name) < place);
  if (twice >= 0)
    throw refuse(
      `${fields.at('datasets')}[${twice}].name`,
      names[twice],
      'a name that no other data set has',
    );
  return sets;
}

/** @throws SettingError where data sets do not have as many columns as the first: each is a tower of the loss, and ids go by place */
export function requireAlike(
  sets: readonly {
    readonly name: string;
    readonly columns: readonly string[];
    readonly ids?: readonly string[] | undefined;
  }[],
): void {
  const [first] = sets;
  const count = ({ ids = [] }: (typeof sets)[number]): number => ids.length;
  const without = sets.findIndex((set) => count(set) !== count(first!));
  if (without >= 0) {
    const set = sets[without]!;
    const { name } = count(set) < count(first!) ? set : first!;
    throw new SettingError(
      `config.datasets[${without}].ids`,
      `names ${set.ids?.join(', ') ?? 'no columns'} of the data set ${show(set.name)} as ids, and those of ${show(first!.name)} are ` +
        `${first!.ids?.join(', ') ?? 'none'}: all need as many. Name those of ${show(name)} (ids of the data set, --dataset-ids ` +
        `${name}=A,B), in which a row without an id has null or []; or leave out those of all.`,
    );
  }
  const other = sets.findIndex(({ columns }) => columns.length !== first!.columns.length);
  if (other < 0) return;
  throw new SettingError(
    `config.datasets[${other}].columns`,
    `are ${sets[other]!.columns.join(', ')}, and those of the first data set are ${first!.columns.join(', ')}: all need ` +
      `${plural(first!.columns.length, 'column')}, as the loss compares them by their places. columns of a data set ` +
      '(--dataset-columns NAME=A,B) names those to take.',
  );
}
