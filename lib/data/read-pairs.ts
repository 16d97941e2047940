import { GradCacheError } from '../errors.js';
import { checkKnown } from '../known-options.js';
import { formatOf, FORMATS, openRecords, type DataFormat } from './open-records.js';
import { show } from '../option-values.js';
import type { BadLine, ReadRecord, Row } from './row.js';

/** What {@link readPairs} reads and how. */
export interface ReadOptions {
  /**
   * The columns of a row, in this order, e.g. `['anchor', 'positive', 'negative']`. Where left out: all columns of the
   * header, all text columns of a Parquet file, or the keys of the first JSON object whose values are texts. JSON
   * arrays get `anchor`, `positive`, `negative`, `negative2`, …
   */
  columns?: readonly string[];
  /** Taken from the file's name where left out: .jsonl, .ndjson, .csv, .tsv, .parquet; the text ones also with .gz. */
  format?: DataFormat;
  /** False for a CSV or TSV file whose first line is a row: `columns` then names its fields. Default: true. */
  header?: boolean;
  /** Whether a line that is no row ends the reading with an error (the default) or is counted and passed over. */
  onBadLine?: 'throw' | 'skip';
  /** Called for every line passed over. */
  onSkip?: (line: BadLine) => void;
}

/** Rows of one or more files. Every iteration reads the files again, from the first. */
export interface Dataset extends AsyncIterable<Row> {
  readonly files: readonly string[];
  /** How many bad lines the latest iteration has passed over so far. */
  readonly skipped: number;
}

/**
 * Reads pairs, triplets or longer tuples of texts from JSON lines, CSV, TSV or Parquet files. Text files are streamed;
 * of a Parquet file one row group is in memory at a time.
 *
 * Every text of a row must be a string with more than white space in it; any other line is bad, and ends the reading
 * or is skipped as `onBadLine` says. Files that cannot be read, or that hold not a single row, are always errors.
 *
 * @throws GradCacheError `INPUT`: at once for options that make no sense; while iterating for bad lines (file, line
 * and reason) and unreadable files.
 */
export function readPairs(path: string | readonly string[], options: ReadOptions = {}): Dataset {
  return new FileDataset(typeof path === 'string' ? [path] : path, options);
}

class FileDataset implements Dataset {
  readonly files: readonly string[];
  skipped = 0;
  readonly #options: ReadOptions;
  readonly #formats: readonly DataFormat[];

  constructor(files: readonly string[], options: ReadOptions) {
    if (!Array.isArray(files) || files.length === 0 || !files.every((file) => typeof file === 'string')) {
      throw new GradCacheError(
        'INPUT',
        `path is ${show(files)}; the path of a file, or a list of at least one, is needed.`,
      );
    }
    checkOptions(options);
    this.files = [...(files as readonly string[])];
    this.#options = { ...options };
    this.#formats = this.files.map((file) => options.format ?? formatOf(file));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Row, void, undefined> {
    this.skipped = 0;
    let rows = 0;
    let columns = this.#options.columns;
    const header = this.#options.header === false ? columns : undefined;
    for (const [index, file] of this.files.entries()) {
      for await (const block of openRecords(file, this.#formats[index]!, columns, header)) {
        for (const record of block) {
          columns ??= columnsOf(record);
          const row = toRow(record, columns);
          if (typeof row === 'string') {
            this.#report({ file, line: record.line, reason: row });
          } else {
            rows++;
            yield row;
          }
        }
      }
    }
    if (rows === 0) {
      const why =
        this.skipped > 0 ? `all ${this.skipped} lines were skipped as bad` : 'there is nothing in it';
      throw new GradCacheError('INPUT', `${this.files.join(', ')}: no row was read, ${why}.`);
    }
  }

  #report(line: BadLine): void {
    if (this.#options.onBadLine !== 'skip') {
      throw new GradCacheError(
        'INPUT',
        `${line.file}, line ${line.line}: ${line.reason}. Correct the line, pass over such lines (onBadLine: 'skip', --on-bad-line skip), or name other columns (columns, --columns).`,
      );
    }
    this.skipped++;
    this.#options.onSkip?.(line);
  }
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
function toRow(record: ReadRecord, columns: readonly string[] | undefined): Row | string {
  if ('problem' in record) return record.problem;
  if (columns === undefined) return 'it has no texts from which the columns could be taken';
  const { values } = record;
  const isList = Array.isArray(values);
  if (isList && values.length !== columns.length)
    return `it has ${values.length} values instead of ${columns.length}`;
  const row: Record<string, string> = {};
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i]!;
    const text: unknown = isList
      ? (values as readonly unknown[])[i]
      : (values as Readonly<Record<string, unknown>>)[column];
    if (typeof text !== 'string') {
      return text === undefined
        ? `it has no ${show(column)}`
        : `${show(column)} is ${show(text)}, not a text`;
    }
    if (text.trim() === '') return `${show(column)} is empty`;
    row[column] = text;
  }
  return row;
}

function checkOptions(options: ReadOptions): void {
  checkKnown('readPairs', options, ['columns', 'format', 'header', 'onBadLine', 'onSkip']);
  const { columns, format, header, onBadLine, onSkip } = options;
  const fail = (name: string, value: unknown, accepted: string) =>
    new GradCacheError('INPUT', `${name} is ${show(value)}; ${accepted}.`);
  if (columns !== undefined) {
    const valid =
      Array.isArray(columns) &&
      columns.length > 0 &&
      new Set(columns).size === columns.length &&
      columns.every((column) => typeof column === 'string' && column !== '' && column !== '__proto__');
    if (!valid) throw fail('columns', columns, 'a list of different, non-empty names is needed');
  }
  if (format !== undefined && !FORMATS.includes(format))
    throw fail('format', format, `one of ${FORMATS.join(', ')} is needed`);
  if (header !== undefined && typeof header !== 'boolean')
    throw fail('header', header, 'true or false is needed');
  if (header === false && columns === undefined)
    throw fail('header', header, 'columns must name the fields then');
  if (onBadLine !== undefined && onBadLine !== 'throw' && onBadLine !== 'skip') {
    throw fail('onBadLine', onBadLine, "'throw' or 'skip' is needed");
  }
  if (onSkip !== undefined && typeof onSkip !== 'function')
    throw fail('onSkip', onSkip, 'a function is needed');
}
