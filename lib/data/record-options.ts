import type { Quoting } from './quoting.js';
import type { SettingNames } from './setting-names.js';

/** File formats that pairs are read from. */
export type DataFormat = 'jsonl' | 'csv' | 'tsv' | 'parquet';

/** How the records of a file are read. */
export interface RecordOptions {
  /** Told from the file's name where left out. */
  readonly format?: DataFormat;
  /** Columns that the header or schema of the file must name; undefined: all of them are read. */
  readonly columns?: readonly string[];
  /** Columns that are read if the file has them. */
  readonly optional?: readonly string[];
  /** Columns of numbers are read as well; a number counts as its text. */
  readonly numbers?: boolean;
  /** The columns' names where a CSV or TSV file does not begin with them. */
  readonly header?: readonly string[];
  readonly quoting?: Quoting;
  /** What these settings are called in messages; default: as for the data that is trained or evaluated on. */
  readonly names?: SettingNames;
  /** Ends the reading, also while it waits for a pipe. */
  readonly signal?: AbortSignal;
}
