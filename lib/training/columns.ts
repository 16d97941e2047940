import { entriesOf, type FileHeads } from '../data/file-heads.js';
import type { RecordOptions } from '../data/record-options.js';
import type { ReadRecord } from '../data/row.js';
import { readOnceAmong } from '../data/source.js';
import { GradCacheError } from '../errors.js';
import { refuse, SettingError } from '../options/fields.js';
import { kindOf, requireColumns } from '../losses/loss-kinds.js';
import { show } from '../options/option-values.js';
import { requireOwnColumns } from './id-settings.js';
import { requireAlike, type FilledDataSet } from './data-sets.js';
import { changeSets } from './held-out-sets.js';
import { NEGATIVE, usualColumns, type FilledTrainConfig, type ReadTrainConfig } from './read-config.js';

/**
 * Fills in the column of the labels and the columns of a configuration that names none: those usual for its loss, or where the
 * data lacks them those that it has, if these are as many; and the hard negatives that the data has. These are `negative`,
 * `negative2` or `negative_2`, and so on, where any of a file's first records has something in them. They get the prompt of the
 * positives, unless they have one of their own. A row without a text there is then bad: otherwise all negatives would be left out
 * in silence.
 *
 * @param heads the data's files
 * @param signal ends the wait for a pipe
 */
export async function withColumns(
  config: ReadTrainConfig,
  heads: FileHeads,
  signal: AbortSignal | undefined,
): Promise<FilledTrainConfig> {
  const { datasets: sets } = config;
  if (sets === undefined) return requireThere(await withOwnColumns(config, heads, signal));
  const filled: FilledTrainConfig[] = [];
  for (const set of sets) {
    const prompts = filled.length === 0 ? config.prompts : {}; // those of the run are for the first set's columns
    filled.push(await withOwnColumns({ ...asIfAlone(config, set), prompts }, heads, signal));
  }
  requireAlike(filled.map(({ columns, ids }, place) => ({ name: sets[place]!.name, columns, ids })));
  const [{ columns, label, weights, ids, prompts, evaluation, lists }] = filled as [FilledTrainConfig];
  const datasets = sets.map((set, place) => {
    const { columns, label, weights, ids } = filled[place]!;
    const strange = Object.keys(set.prompts).find((column) => !columns.includes(column));
    if (strange !== undefined)
      throw new SettingError(
        `config.datasets[${place}].prompts.${strange}`,
        `is for a column that is none of ${columns.join(', ')}.`,
      );
    return { ...set, columns, label, weights, ids };
  });
  // Rows of all sets have the columns of the first.
  return requireThere({ ...config, columns, label, weights, ids, lists, evaluation, prompts, datasets });
}

/** @throws SettingError for labels or weights in a column of texts, pictures in no column, and for a list that is in none, which would be left out in silence */
function requireThere(config: FilledTrainConfig): FilledTrainConfig {
  const { columns, images, label, weights, ids, datasets, lists = [] } = config;
  for (const [place, set] of (datasets ?? [config]).entries()) {
    const path = datasets === undefined ? 'config' : `config.datasets[${place}]`;
    for (const name of ['label', 'weights'] as const) {
      const column = set[name];
      if (column !== undefined && (set.columns ?? columns).includes(column))
        throw refuse(`${path}.${name}`, column, 'a column that is none of the texts');
    }
  }
  if (datasets === undefined) requireOwnColumns('config.ids', ids, [...columns, label, weights]);
  for (const [place, set] of datasets?.entries() ?? [])
    requireOwnColumns(`config.datasets[${place}].ids`, set.ids, [
      ...(set.columns ?? []),
      set.label,
      set.weights,
    ]);
  if (images !== undefined && !columns.includes(images))
    throw new SettingError(
      'config.images',
      `is ${show(images)}, and the columns are ${columns.join(', ')}: name the one that has the paths of pictures.`,
    );
  const strange = lists.find((name) => !columns.includes(name));
  if (strange === undefined) return config;
  throw new SettingError('config.lists', `names ${show(strange)}, which the data has nothing in.`);
}

/** The configuration of a run on one of its data sets. */
function asIfAlone(
  run: ReadTrainConfig,
  { data, columns, label, weights, ids, format, header, quoting, delimiter }: FilledDataSet,
): ReadTrainConfig {
  return {
    ...run,
    data: [...data],
    columns: columns === undefined ? run.columns : [...columns],
    label: label ?? run.label,
    weights: weights ?? run.weights,
    ids: ids === undefined ? run.ids : [...ids],
    format: format ?? run.format,
    header: header === undefined ? run.header : typeof header === 'object' ? [...header] : header,
    quoting: quoting ?? run.quoting,
    delimiter: delimiter ?? run.delimiter,
  };
}

async function withOwnColumns(
  config: ReadTrainConfig,
  heads: FileHeads,
  signal: AbortSignal | undefined,
): Promise<FilledTrainConfig> {
  const { loss } = config;
  const named = config.columns !== undefined;
  const { label: wanted } = kindOf(loss);
  const needsLabel = wanted !== undefined && wanted.onlyNamed !== true && config.label === undefined;
  const seen = named && !needsLabel ? [] : await lookAt(config, heads, signal);
  const usual = config.columns ?? textsAmong(seen, config);
  const label = labelOf(config, seen, usual);
  const withEvaluation = { ...config, label, evaluation: ofHeldOut(config.evaluation, usual) };
  if (named) return { ...withEvaluation, columns: usual };
  const negatives = seen.flatMap(({ name }) =>
    usual.includes('positive') && NEGATIVE.test(name) && !usual.includes(name) ? [name] : [],
  );
  const columns = [...usual, ...negatives];
  const listed = seen.flatMap(({ name, isList }) =>
    isList && columns.slice(1).includes(name) ? [name] : [],
  );
  const lists = config.lists ?? (listed.length > 0 && kindOf(loss).takesLists ? listed : undefined);
  const there = seen.map((each) => each.found);
  const { images } = config;
  if (images !== undefined && usual.indexOf(images) < usual.lastIndexOf(images))
    throw new SettingError(
      'config.images',
      `is ${show(images)}, the column of captions where columns are not named. The data has ${there.map(show).join(', ')}: name the ` +
        'one that has the paths of pictures, or all of them (columns, --columns).',
    );
  requireColumns('config.columns', columns, loss, there);
  for (const column of Object.keys(config.prompts)) {
    if (!columns.includes(column))
      throw new SettingError(`config.prompts.${column}`, `is for a column that the data has nothing in.`);
  }
  const positive = config.prompts[usual[1] ?? ''];
  const prompts =
    positive === undefined ? {} : Object.fromEntries(columns.slice(2).map((name) => [name, positive]));
  return { ...withEvaluation, columns, lists, prompts: { ...prompts, ...config.prompts } };
}

/** Held-out pairs have the first two columns that are trained on, unless they have their own. */
function ofHeldOut(
  evaluation: ReadTrainConfig['evaluation'],
  trained: readonly string[],
): ReadTrainConfig['evaluation'] {
  return (
    evaluation &&
    changeSets(evaluation, ({ task, data, columns }) => ({
      columns: columns ?? (task === 'retrieval' && data !== undefined ? trained.slice(0, 2) : undefined),
    }))
  );
}

/** What a column is called where none is named: the first of these that the data has is that of the labels. */
const LABELS = ['label', 'labels', 'score', 'scores'];

/** A column of the data as its first records show it: one that has something in it. */
interface SeenColumn {
  readonly name: string;
  /** Whether all of them have a number there, also as a text. */
  readonly isNumber: boolean;
  /** Whether all of them have a text there. */
  readonly isText: boolean;
  /** Whether all of them have a list there. */
  readonly isList: boolean;
  /** By what it is found where its name is not a usual one: its number, in rows whose values have no names. */
  readonly found: string;
}

/** The columns of texts of a configuration that names none, without hard negatives. */
function textsAmong(
  seen: readonly SeenColumn[],
  { loss, label, weights, ids = [], images }: ReadTrainConfig,
): readonly string[] {
  const usual = usualColumns(loss, images);
  const names = seen.map(({ name }) => name);
  if (images !== undefined && names.includes('caption')) return usual;
  if (images === undefined && usual.some((name) => names.includes(name))) return usual;
  const texts = seen.filter(
    ({ name, isText, isNumber }) =>
      isText && !isNumber && ![label, weights, ...ids, ...LABELS].includes(name),
  );
  const found = texts.map((each) => each.found);
  // Captions can be called by any name.
  if (images !== undefined)
    return found.length === 2 && found.includes(images)
      ? [images, found.find((name) => name !== images)!]
      : usual;
  return texts.length === usual.length ? found : usual;
}

/** The column of the labels: the one named, or found in the data if the loss needs one. @throws GradCacheError `INPUT` */
function labelOf(
  { label, loss, header, ids = [] }: ReadTrainConfig,
  seen: readonly SeenColumn[],
  columns: readonly string[],
): string | undefined {
  const kind = kindOf(loss).label;
  if (label !== undefined || kind === undefined || kind.onlyNamed === true) return label;
  const taken = [...columns, ...ids];
  const others = seen.filter(({ name, found }) => !taken.includes(name) && !taken.includes(found));
  const found = LABELS.find((name) => others.some((other) => other.name === name));
  if (found !== undefined) return found;
  // Where there is nothing else that it could be.
  const able = others.filter(({ isNumber }) => kind.type === 'class' || isNumber);
  const known = columns.every((column) => seen.some(({ name, found }) => [name, found].includes(column)));
  if (able.length === 1 && known) return able[0]!.found;
  if (kind.optional === true) return undefined;
  const names = seen.map(({ name }) => show(name)).join(', ');
  throw new SettingError(
    'config.label',
    `is missing: the loss ${loss.kind} needs ${kind.needed}. Name its column (label, --label); the data has ` +
      `${names === '' || header === false ? 'no names of columns' : names}.`,
  );
}

/** The columns that any of the first records of the files has something in. */
async function lookAt(
  { data, format, header, quoting, delimiter, loss }: ReadTrainConfig,
  heads: FileHeads,
  signal: AbortSignal | undefined,
): Promise<SeenColumn[]> {
  const numbers = kindOf(loss).label !== undefined;
  const names = header === false ? ('none' as const) : typeof header === 'object' ? header : undefined;
  const lists = kindOf(loss).takesLists ? ('all' as const) : [];
  const how = { format, header: names, quoting, delimiter, signal, numbers, lists };
  const seen = new Map<string, SeenColumn>();
  for (const file of data) {
    for (const record of await look(heads, file, how)) {
      const hasNames = 'values' in record && !Array.isArray(record.values);
      for (const [place, [name, value]] of entriesOf(record).entries()) {
        if (value === null || value === '') continue;
        const { isNumber, isText, isList } = seen.get(name) ?? { isNumber: true, isText: true, isList: true };
        seen.set(name, {
          name,
          isNumber: isNumber && typeof value !== 'object' && !Number.isNaN(Number(value)),
          isText: isText && typeof value === 'string',
          isList: isList && Array.isArray(value),
          found: hasNames ? name : String(place + 1),
        });
      }
    }
  }
  return [...seen.values()];
}

/** The first records of a file. A file that can be read again and has a fault has none here; reading the rows tells the fault. */
async function look(heads: FileHeads, file: string, how: RecordOptions): Promise<ReadRecord[]> {
  try {
    return await heads.look(file, how);
  } catch (error) {
    if (error instanceof GradCacheError && error.code === 'INPUT' && readOnceAmong([file]) === undefined)
      return [];
    throw error;
  }
}
