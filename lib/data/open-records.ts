import { GradCacheError } from '../errors.js';
import { readSeparatedValues } from './csv.js';
import { readJsonLines } from './jsonl.js';
import { readParquet } from './parquet/read-parquet.js';
import type { Quoting } from './quoting.js';
import { refuseStandIn } from './source.js';
import type { RecordBlocks } from './row.js';
import { DATA_SETTINGS, type SettingNames } from './setting-names.js';

/** File formats that pairs are read from. */
export type DataFormat = 'jsonl' | 'csv' | 'tsv' | 'parquet';

const FORMAT_OF_EXTENSION: ReadonlyMap<string, DataFormat> = new Map([
  ['jsonl', 'jsonl'],
  ['ndjson', 'jsonl'],
  ['csv', 'csv'],
  ['tsv', 'tsv'],
  ['parquet', 'parquet'],
]);

export const FORMATS: readonly DataFormat[] = [...new Set(FORMAT_OF_EXTENSION.values())];

/** How the records of a file are read. */
export interface RecordOptions {
  /** Told from the file's name where left out. */
  readonly format?: DataFormat;
  /** Columns that the header or schema of the file must name; undefined: all of them are read. */
  readonly columns?: readonly string[];
  /** Columns that are read if the file has them. */
  readonly optional?: readonly string[];
  /** Columns of numbers are read as well. */
  readonly numbers?: boolean;
  /** The columns' names where a CSV or TSV file does not begin with them. */
  readonly header?: readonly string[];
  readonly quoting?: Quoting;
  /** What these settings are called in messages; default: as for the data that is trained or evaluated on. */
  readonly names?: SettingNames;
  readonly signal?: AbortSignal;
}

/** The records of a file, whatever its format. */
export async function* openRecords(file: string, options: RecordOptions = {}): RecordBlocks {
  const { names = DATA_SETTINGS } = options;
  const {
    format = formatOf(file, names),
    columns: wanted,
    optional,
    numbers,
    header,
    quoting,
    signal,
  } = options;
  await refuseStandIn(file, 'data');
  const table = { header, wanted, names, signal };
  switch (format) {
    case 'jsonl':
      yield* readJsonLines(file, signal);
      break;
    case 'csv':
      yield* readSeparatedValues(file, { ...table, separator: ',', quoting: quoting ?? 'csv' });
      break;
    case 'tsv':
      yield* readSeparatedValues(file, { ...table, separator: '\t', quoting: quoting ?? 'auto' });
      break;
    case 'parquet':
      yield* readParquet(file, { wanted, optional, numbers, names, signal });
  }
}

/** The format that a file's name tells, or undefined where it tells none. */
export function formatTold(file: string): DataFormat | undefined {
  const [, extension = ''] = /\.([^./\\]+)(?:\.gz)?$/.exec(file) ?? [];
  const format = FORMAT_OF_EXTENSION.get(extension.toLowerCase());
  return format === 'parquet' && file.endsWith('.gz') ? undefined : format;
}

/** The format that a file's name tells. @throws GradCacheError `INPUT` where it tells none */
export function formatOf(file: string, names: SettingNames = DATA_SETTINGS): DataFormat {
  const format = formatTold(file);
  if (format !== undefined) return format;
  const known = [...FORMAT_OF_EXTENSION.keys()].map((each) => `.${each}`);
  throw new GradCacheError(
    'INPUT',
    `${file}: the format cannot be told from the name; use ${known.join(', ')} (.gz after the text ones)${names.format === undefined ? '' : `, or name the format (${names.format})`}.`,
  );
}
