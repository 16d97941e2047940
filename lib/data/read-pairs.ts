import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { isAmong } from './column-numbers.js';
import { dataFiles } from './data-files.js';
import { delimiterProblem } from './delimiter.js';
import { formatOf, FORMATS } from './formats.js';
import { openRecords } from './open-records.js';
import type { DataFormat } from './record-options.js';
import { refused, requireFunction, requireOneOf, requireSignal, show } from '../options/option-values.js';
import { checkLabelOptions, type LabelOptions } from './labels.js';
import { checkIds } from './row-ids.js';
import { QUOTINGS, type Quoting } from './quoting.js';
import { besideTexts, readRows } from './read-rows.js';
import { DATA_SETTINGS, noSuchField, type SettingNames } from './setting-names.js';
import { readOnceAmong } from './source.js';
import { badLine, type BadLine, type Row } from './row.js';
import { tell } from '../options/synchronous.js';

/** What {@link readPairs} reads and how. */
export interface ReadOptions<
  Column extends string = string,
  LabelColumn extends string = string,
  IdColumn extends string = string,
> {
  /**
   * The columns of a row, in this order, e.g. `['anchor', 'positive', 'negative']`. A number counts the columns of the file from 1:
   * `['2', '5']`. Where left out: all columns of the
   * header, all text columns of a Parquet file, or the keys of the first JSON object whose values are texts. JSON
   * arrays get `anchor`, `positive`, `negative`, `negative2`, …
   */
  columns?: readonly Column[];
  /**
   * Taken from the file's name where left out: .jsonl, .ndjson, .json (an array of rows, or a row a line), .csv, .tsv; these also
   * with .gz; .parquet, .arrow. `'smart'` is the format of Cranfield, CISI and CACM, with the columns `_id`, `title`, `text`.
   */
  format?: DataFormat;
  /**
   * For a CSV or TSV file whose first line is a row: the names of all its fields, of which `columns` picks some; or false
   * where `columns` names them all, or some by their numbers, or none: rows are then read as JSON arrays are. Default: true.
   */
  header?: boolean | readonly string[];
  /** Whether fields of a CSV or TSV file can be in quotes. Default: 'csv' for CSV, 'auto' for TSV. See {@link Quoting}. */
  quoting?: Quoting;
  /** What stands between the fields of a CSV or TSV file: a character or several. Default: a comma, or a tab. */
  delimiter?: string;
  /**
   * A column of labels. A row then has it too, with the label as text, behind its texts; {@link batches} reads it. In JSON
   * arrays the label comes last. A list of numbers is a JSON list, or the text of one.
   */
  label?: LabelOptions<LabelColumn>;
  /**
   * Columns of ids: what a row is about, a text, a whole number or a list of them. A row then has these too, as text, behind its
   * texts and label; {@link batches} reads them. An empty value, null or [] is no id. An id is known by its text: 7 and "7" are one, and
   * "7.0" is another. In JSON arrays they come last. Default: none.
   */
  ids?: readonly IdColumn[];
  /**
   * Those of the columns whose values are lists of texts, as JSON arrays; in CSV and TSV files the text of one. A row has the
   * JSON of the list there. Default: none.
   */
  lists?: readonly NoInfer<Column>[];
  /** Those of `lists` that may be empty. Default: none. */
  emptyLists?: readonly NoInfer<Column>[];
  /** Whether a line that is no row ends the reading with an error (the default) or is counted and passed over. */
  onBadLine?: 'throw' | 'skip';
  /** Called for every line passed over. */
  onSkip?: (line: BadLine) => void;
  /** Ends the reading with `ABORTED`, also while it waits for a pipe. */
  signal?: AbortSignal;
}

/** Rows of one or more files, with the columns that were named. Every iteration reads the files again, from the first; where one is a pipe there is only one. */
export interface Dataset<Column extends string = string> extends AsyncIterable<Row<Column>> {
  /** The files that are read, in order. */
  readonly files: readonly string[];
  /** How many bad lines the latest iteration has passed over so far. */
  readonly skipped: number;
}

/**
 * Reads pairs, triplets or longer tuples of texts from files of JSON, CSV, TSV, Parquet or Arrow. Text files are streamed;
 * a Parquet file is decoded in a child process, one row group of it at a time. Arrow files need the package apache-arrow.
 *
 * Every text of a row must be a string with more than white space in it; any other line is bad, and ends the reading
 * or is skipped as `onBadLine` says. Files that cannot be read, or that hold not a single row, are always errors.
 *
 * @param path a file or several: also `-` for standard input, a pattern such as `'shards/*.parquet'`, a folder of shards, or one of
 * `save_to_disk` of Python's datasets
 * @throws GradCacheError `INPUT`: at once for options that make no sense; while iterating for bad lines (file, line
 * and reason) and unreadable files, and for a second iteration over a pipe. `ABORTED` when the signal fires.
 * @example
 * ```ts
 * const pairs = readPairs('pairs.csv', { columns: ['question', 'answer'], onBadLine: 'skip' });
 * for await (const { question, answer } of pairs) console.log(question, answer);
 * ```
 */
export function readPairs<
  const Column extends string = string,
  const LabelColumn extends string = never,
  const IdColumn extends string = never,
>(
  path: string | readonly string[],
  options: ReadOptions<Column, LabelColumn, IdColumn> = {},
): Dataset<Column | LabelColumn | IdColumn> {
  return readPairsOf(typeof path === 'string' ? [path] : path, options, openRecords);
}

/**
 * {@link readPairs}, from files that `open` gives the records of.
 *
 * @param names what the settings are called where the user gives them
 */
export function readPairsOf(
  files: readonly string[],
  options: ReadOptions,
  open: typeof openRecords,
  names: SettingNames = DATA_SETTINGS,
): Dataset {
  return new FileDataset(files, options, open, names);
}

class FileDataset implements Dataset {
  readonly files: readonly string[];
  skipped = 0;
  #begun = false;
  readonly #options: ReadOptions;

  constructor(
    files: readonly string[],
    options: ReadOptions,
    readonly open: typeof openRecords,
    readonly names: SettingNames,
  ) {
    if (!Array.isArray(files) || files.length === 0 || !files.every((file) => typeof file === 'string')) {
      throw new GradCacheError(
        'INPUT',
        `path is ${show(files)}; the path of a file, or a list of at least one, is needed.`,
      );
    }
    checkReadOptions(options, names);
    this.files = dataFiles(files);
    this.#options = { ...options };
    // Refused here, not at the first row.
    if (options.format === undefined) for (const file of this.files) formatOf(file, names, options.delimiter);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Row, void, undefined> {
    this.skipped = 0;
    const once = readOnceAmong(this.files);
    if (once !== undefined && this.#begun) {
      throw new GradCacheError(
        'INPUT',
        `${once} can be read only once, and it has been: what a pipe has given is gone. Hold the rows (shuffle: true), or use a regular file.`,
      );
    }
    this.#begun = true;
    const options = { ...this.#options, names: this.names };
    yield* readRows(this.files, options, (line) => this.#report(line), this.open);
  }

  #report(line: BadLine): void {
    if (this.#options.onBadLine !== 'skip') {
      throw badLine(
        line,
        `Correct the line, pass over such lines (onBadLine: 'skip', --on-bad-line skip), or name other columns (${this.names.columns}).`,
      );
    }
    this.skipped++;
    tell('onSkip', this.#options.onSkip, line);
  }
}

/**
 * @param names what the settings are called where the user gives them
 * @throws GradCacheError `INPUT` for options of {@link readPairs} that make no sense
 */
export function checkReadOptions(options: ReadOptions, names: SettingNames): void {
  checkKnown('readPairs', options, [
    'columns',
    'format',
    'header',
    'quoting',
    'delimiter',
    'onBadLine',
    'onSkip',
    'signal',
    'label',
    'ids',
    'lists',
    'emptyLists',
  ]);
  const {
    columns,
    format,
    header,
    quoting,
    delimiter,
    onBadLine,
    onSkip,
    signal,
    label,
    ids,
    lists,
    emptyLists,
  } = options;
  requireSignal('signal', signal);
  if (columns !== undefined && !areNames(columns))
    throw refused('columns', columns, 'a list of different, non-empty names');
  if (label !== undefined) checkLabelOptions('label', label, columns);
  if (ids !== undefined) checkIds(ids, [...(columns ?? []), ...besideTexts({ label })]);
  if (
    lists !== undefined &&
    !(Array.isArray(lists) && lists.every((name) => columns?.includes(name as string)))
  )
    throw refused('lists', lists, 'a list of some of the columns');
  if (
    emptyLists !== undefined &&
    !(Array.isArray(emptyLists) && emptyLists.every((name) => lists?.includes(name as string)))
  )
    throw refused('emptyLists', emptyLists, 'a list of some of lists');
  if (format !== undefined) requireOneOf('format', format, FORMATS);
  if (header !== undefined && typeof header !== 'boolean' && !areNames(header))
    throw refused('header', header, 'true, false or a list of the names of the fields');
  const unknown =
    typeof header === 'object'
      ? [...(columns ?? []), ...besideTexts(options)].find((column) => !isAmong(column, header))
      : undefined;
  if (unknown !== undefined) throw noSuchField(unknown, header as readonly string[], names);
  if (quoting !== undefined) requireOneOf('quoting', quoting, QUOTINGS);
  const problem = delimiter === undefined ? undefined : delimiterProblem(delimiter);
  if (problem !== undefined) throw refused('delimiter', delimiter, problem);
  if (onBadLine !== undefined) requireOneOf('onBadLine', onBadLine, ['throw', 'skip']);
  if (onSkip !== undefined) requireFunction('onSkip', onSkip);
}

function areNames(names: unknown): names is readonly string[] {
  return (
    Array.isArray(names) &&
    names.length > 0 &&
    new Set(names).size === names.length &&
    names.every((name) => typeof name === 'string' && name !== '' && name !== '__proto__')
  );
}
