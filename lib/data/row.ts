import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';

/** One example: its texts by column, in the order of the columns, e.g. `{ anchor: '…', positive: '…' }`. */
export type Row<Column extends string = string> = Readonly<Record<Column, string>>;

/** A row with a label in one of its columns: a number, a list of numbers or the name of a class. */
export type LabelledRow<Column extends string = string> = Readonly<
  Record<Column, string | number | readonly unknown[]>
>;

/** Where rows come from: a {@link Dataset}, an array of rows, or any other iterable of them. */
export type RowSource = AsyncIterable<Row> | Iterable<Row>;

/** Where rows with labels come from. */
export type LabelledRowSource<Column extends string = string> =
  AsyncIterable<LabelledRow<Column>> | Iterable<LabelledRow<Column>>;

/** A line of a file that is no row, and why. */
export interface BadLine {
  /** The file that the line is in. */
  readonly file: string;
  /** Counted from 1; the first line of a record that spans several. In Parquet files: the row. */
  readonly line: number;
  /** What is wrong with it. */
  readonly reason: string;
}

/** The names of a record's columns, for messages. */
export function namesShown(names: readonly string[]): string {
  return names.slice(0, 20).map(show).join(', ') + (names.length > 20 ? ', …' : '') || 'nothing';
}

/** The error for a bad line; it says what to do. */
export function badLine({ file, line, reason }: BadLine, wayOut = ''): GradCacheError {
  return new GradCacheError('INPUT', `${file}, line ${line}: ${reason}.${wayOut && ` ${wayOut}`}`);
}

/** What a file format yields for each record: its values by column, or what is wrong with it. */
export type ReadRecord =
  | {
      readonly line: number;
      readonly values: Readonly<Record<string, unknown>> | readonly unknown[];
      /** The values in the order of the file, where it has one. */
      readonly fields?: readonly string[];
    }
  | { readonly line: number; readonly problem: string };

/** Records of one file, several at a time: one promise for each record would cost more than parsing it. */
export type RecordBlocks = AsyncGenerator<ReadRecord[], void, undefined>;
