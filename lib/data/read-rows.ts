import { throwIfAborted } from '../options/abort.js';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { openRecords } from './open-records.js';
import { labelProblem, labelText, misfit, type LabelOptions } from './labels.js';
import type { RecordOptions } from './record-options.js';
import { idsProblem, idsText } from './row-ids.js';
import { namesShown } from './row.js';
import { listText } from './text-lists.js';
import type { BadLine, ReadRecord, Row } from './row.js';
import { DATA_SETTINGS } from './setting-names.js';
import { plural } from '../options/plural.js';
import { isColumnNumber } from './column-numbers.js';

/** What {@link readRows} takes for a row. */
export interface RowOptions extends Omit<RecordOptions, 'header' | 'lists'> {
  /** A text may be empty, or have nothing but white space in it. */
  readonly emptyTexts?: boolean;
  /** What is wrong with a row, where anything is: it is a bad line then. */
  readonly check?: (row: Row, line: number, file: string) => string | undefined;
  /** False: the fields of a CSV or TSV file without a header are `columns`. A list: they are these. */
  readonly header?: boolean | readonly string[];
  /** Columns whose values are lists of texts, or the JSON of such lists. A row has the JSON there. */
  readonly lists?: readonly string[];
  /** Those of them whose lists may be empty. */
  readonly emptyLists?: readonly string[];
  /** A column of labels. A row has the text of its label there, behind its texts. */
  readonly label?: LabelOptions;
  /** Columns of ids. A row has the text of its ids there, behind its label. */
  readonly ids?: readonly string[];
}

/**
 * Rows of files, one file after the other.
 *
 * @param onBadLine called for what is no row; it may throw
 * @param open gives the records of a file
 * @throws GradCacheError `INPUT` for a file that cannot be read, and where there is not a single row;
 * `ABORTED` when the signal fires
 */
export async function* readRows(
  files: readonly string[],
  options: RowOptions,
  onBadLine: (line: BadLine) => void,
  open: typeof openRecords = openRecords,
): AsyncGenerator<Row, void, undefined> {
  const { optional = [], signal, lists = [], ids = [] } = options;
  const beside = besideTexts(options);
  let { columns } = options;
  let rows = 0;
  let bad = 0;
  for (const file of files) {
    const wanted = columns && [...columns, ...beside];
    const header = headerOf(options.header, wanted && [...wanted, ...optional]);
    const numbers = beside.length > 0 || options.numbers === true;
    const how = { ...options, columns: wanted, header, numbers, lists: [...lists, ...ids] };
    const records = open(file, { ...how, namedBy: settingsOf(options) });
    for await (const block of records) {
      throwIfAborted(signal);
      for (const record of block) {
        columns ??= columnsOf(record)?.filter((name) => !beside.includes(name));
        const row = toRow(record, columns, options);
        const reason = typeof row === 'string' ? row : options.check?.(row, record.line, file);
        if (typeof row === 'string' || reason !== undefined) {
          bad++;
          onBadLine({ file, line: record.line, reason: reason! });
        } else {
          rows++;
          yield row;
        }
      }
    }
  }
  if (rows > 0) return;
  const why =
    bad > 0
      ? `${bad === 1 ? 'its one line was' : `all ${bad} lines were`} skipped as bad`
      : 'there is nothing in it';
  throw new GradCacheError('INPUT', `${files.join(', ')}: no row was read, ${why}.`);
}

/** What the settings are called that name the columns beside those of texts. */
function settingsOf({ label, ids = [], names = DATA_SETTINGS }: RowOptions): Record<string, string> {
  const all: [string, string | undefined][] = [
    ...(label === undefined ? [] : [[label.column, names.label] as [string, string | undefined]]),
    ...ids.map((column): [string, string | undefined] => [column, names.ids]),
  ];
  return Object.fromEntries(all.map(([column, setting]) => [column, setting ?? names.columns]));
}

/** The columns that a row has behind its texts. */
export function besideTexts({ label, ids = [] }: Pick<RowOptions, 'label' | 'ids'>): readonly string[] {
  return label === undefined ? ids : [label.column, ...ids];
}

/** What the fields of a file are called: columns that are given by their numbers are found in fields without names. */
function headerOf(
  header: RowOptions['header'],
  columns: readonly string[] | undefined,
): RecordOptions['header'] {
  if (header !== false) return typeof header === 'object' ? header : undefined;
  if (columns === undefined || columns.every(isColumnNumber)) return 'none';
  // Names of all fields, as it seems: one that is a number, beside one that is the number of no field, is taken for neither.
  const beyond = columns.find((column) => /^\d+$/.test(column) && !isColumnNumber(column));
  if (beyond !== undefined && columns.some(isColumnNumber))
    throw new GradCacheError(
      'INPUT',
      `Columns of fields without names are ${columns.join(', ')}, and ${beyond} is the number of none: they are counted from 1.`,
    );
  return columns;
}

/** The columns that a first record suggests, or undefined where it suggests none. */
function columnsOf(record: ReadRecord): string[] | undefined {
  if ('problem' in record) return undefined;
  if (Array.isArray(record.values)) {
    const names = namesOfList(record.values);
    return names.length > 0 ? names : undefined;
  }
  const names = Object.entries(record.values).flatMap(([name, value]) =>
    typeof value === 'string' ? [name] : [],
  );
  return names.length > 0 && !names.includes('__proto__') ? names : undefined;
}

/** What the places of a JSON array are called. */
export function namesOfList(values: readonly unknown[]): string[] {
  return values.map((_, i) =>
    i < 2 ? ['anchor', 'positive'][i]! : i === 2 ? 'negative' : `negative${i - 1}`,
  );
}

/** The row in a record, or what is wrong with it. */
export function toRow(
  record: ReadRecord,
  columns: readonly string[] | undefined,
  options: RowOptions,
): Row | string {
  const { optional = [], numbers = false, emptyTexts = false, lists = [], emptyLists = [] } = options;
  const { label, ids = [] } = options;
  if ('problem' in record) return record.problem;
  if (columns === undefined) return 'it has no texts from which the columns could be taken';
  const beside = besideTexts(options);
  const isNumbered = Array.isArray(record.values) && [...columns, ...beside].every(isColumnNumber);
  if (isNumbered || record.fields !== undefined) {
    const fields = (record.fields ?? record.values) as readonly unknown[];
    const asked = [...columns, ...optional, ...beside].filter((name) => isNumberOf(name, record.values));
    const beyond = asked.find((name) => Number(name) > fields.length && !optional.includes(name));
    if (beyond !== undefined)
      return `it has ${plural(fields.length, 'field')}, and column ${beyond} is asked for`;
    if (asked.length > 0) {
      const named = Object.fromEntries(asked.map((name) => [name, fields[Number(name) - 1]]));
      return toRow(
        { line: record.line, values: { ...(isNumbered ? {} : record.values), ...named } },
        columns,
        options,
      );
    }
  }
  const { values } = record;
  const isList = Array.isArray(values);
  const needed = columns.length + beside.length;
  if (isList && (values.length < needed || values.length > needed + optional.length))
    return `it has ${plural(values.length, 'value')} instead of ${needed}`;
  const row: Record<string, string> = {};
  const all = optional.length > 0 ? [...columns, ...optional] : columns;
  for (let i = 0; i < all.length; i++) {
    const column = all[i]!;
    const value: unknown = isList
      ? (values as readonly unknown[])[i]
      : (values as Readonly<Record<string, unknown>>)[column];
    if (lists.includes(column)) {
      const list = listText(value, emptyLists.includes(column));
      if (list === undefined) return listProblem(column, value, values);
      row[column] = list;
      continue;
    }
    const text = numbers && (typeof value === 'number' || typeof value === 'bigint') ? String(value) : value;
    if (typeof text === 'string' && (emptyTexts || text.trim() !== '')) row[column] = text;
    else if (i < columns.length) return problemOf(column, value, values, numbers);
    else if (typeof text !== 'string' && text !== undefined && text !== null)
      return problemOf(column, value, values, numbers);
  }
  const labelled = label === undefined ? row : withLabel(row, values, columns.length, label);
  if (typeof labelled === 'string') return labelled;
  return withIds(row, values, columns.length + beside.length - ids.length, options);
}

/** Whether a column is named by its number, and none of the values is called so. */
function isNumberOf(name: string, values: object): boolean {
  return isColumnNumber(name) && (Array.isArray(values) || !Object.hasOwn(values, name));
}

/** A row and its label, which comes last in a list. */
function withLabel(
  row: Record<string, string>,
  values: Readonly<Record<string, unknown>> | readonly unknown[],
  place: number,
  options: LabelOptions,
): Row | string {
  const { column, type = 'number' } = options;
  const value: unknown = Array.isArray(values)
    ? (values as readonly unknown[])[place]
    : (values as Readonly<Record<string, unknown>>)[column];
  const text = labelText(value, type);
  if (text === undefined) return labelProblem(options, value);
  const wrong = misfit(options, text, row);
  if (wrong !== undefined) return wrong;
  row[column] = text;
  return row;
}

/** A row and its ids, which come last in a list. */
function withIds(
  row: Record<string, string>,
  values: Readonly<Record<string, unknown>> | readonly unknown[],
  place: number,
  { ids = [], names }: Pick<RowOptions, 'ids' | 'names'>,
): Row | string {
  for (const [number, column] of ids.entries()) {
    const value: unknown = Array.isArray(values)
      ? (values as readonly unknown[])[place + number]
      : (values as Readonly<Record<string, unknown>>)[column];
    const text = idsText(value);
    if (text === undefined)
      return idsProblem(column, value, names, Array.isArray(values) ? undefined : Object.keys(values));
    row[column] = text;
  }
  return row;
}

function listProblem(column: string, value: unknown, values: object): string {
  return value === undefined
    ? problemOf(column, value, values, false)
    : `${show(column)} is ${show(value)}, not a list of texts`;
}

function problemOf(column: string, value: unknown, values: object, numbers: boolean): string {
  if (typeof value === 'string') return `${show(column)} is empty`;
  if (value !== undefined)
    return `${show(column)} is ${show(value)}, not a text${numbers ? ' or number' : ''}`;
  return `it has no ${show(column)}; it has ${namesShown(Object.keys(values))}`;
}
