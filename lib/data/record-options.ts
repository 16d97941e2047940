import type { Quoting } from './quoting.js';
import type { SettingNames } from './setting-names.js';

/** File formats that pairs are read from. */
export type DataFormat = 'jsonl' | 'json' | 'csv' | 'tsv' | 'parquet' | 'arrow' | 'smart';

/** How the records of a file are read. */
export interface RecordOptions {
  /** Told from the file's name where left out. */
  readonly format?: DataFormat;
  /** Columns that the header or schema of the file must name; undefined: all of them are read. */
  readonly columns?: readonly string[];
  /** What the settings are called that name columns of other kinds than texts, by the column: `ids, --ids`. */
  readonly namedBy?: Readonly<Record<string, string>>;
  /** Columns that are read if the file has them. */
  readonly optional?: readonly string[];
  /** Columns of numbers are read as well; a number counts as its text. */
  readonly numbers?: boolean;
  /** Columns of lists of texts, which are read as well; `'all'`: every one is. */
  readonly lists?: readonly string[] | 'all';
  /** The columns' names where a CSV or TSV file does not begin with them; `'none'`: fields have no names. */
  readonly header?: readonly string[] | 'none';
  /** What stands between the fields of a CSV or TSV file. Default: a comma, or a tab. */
  readonly delimiter?: string;
  readonly quoting?: Quoting;
  /** What these settings are called in messages; default: as for the data that is trained or evaluated on. */
  readonly names?: SettingNames;
  /** Ends the reading, also while it waits for a pipe. */
  readonly signal?: AbortSignal;
}
