import { GradCacheError } from '../errors.js';
import { readSeparatedValues } from './csv.js';
import { readJsonLines } from './jsonl.js';
import { readParquet } from './parquet.js';
import type { RecordBlocks } from './row.js';

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

/**
 * The records of a file, whatever its format.
 *
 * @param columns that the file must have, where it says so before its records; all where undefined
 * @param header the columns' names where a CSV or TSV file does not begin with them
 */
export function openRecords(
  file: string,
  format: DataFormat,
  columns?: readonly string[],
  header?: readonly string[],
): RecordBlocks {
  switch (format) {
    case 'jsonl':
      return readJsonLines(file);
    case 'csv':
      return readSeparatedValues(file, ',', header, columns);
    case 'tsv':
      return readSeparatedValues(file, '\t', header, columns);
    case 'parquet':
      return readParquet(file, columns);
  }
}

/** The format that a file's name tells. @throws GradCacheError `INPUT` where it tells none */
export function formatOf(file: string): DataFormat {
  const [, extension = ''] = /\.([^./\\]+)(?:\.gz)?$/.exec(file) ?? [];
  const format = FORMAT_OF_EXTENSION.get(extension.toLowerCase());
  if (format !== undefined && !(format === 'parquet' && file.endsWith('.gz'))) return format;
  const known = [...FORMAT_OF_EXTENSION.keys()].map((each) => `.${each}`);
  throw new GradCacheError(
    'INPUT',
    `${file}: the format cannot be told from the name; use ${known.join(', ')} (.gz after the text ones), or set format.`,
  );
}
