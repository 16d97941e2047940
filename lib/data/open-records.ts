import { GradCacheError } from '../errors.js';
import { readSeparatedValues } from './csv.js';
import { readJsonLines } from './jsonl.js';
import { readParquet } from './parquet/read-parquet.js';
import type { DataFormat, RecordOptions } from './record-options.js';
import { refuseStandIn } from './source.js';
import type { RecordBlocks } from './row.js';
import { DATA_SETTINGS, type SettingNames } from './setting-names.js';

export type { DataFormat, RecordOptions } from './record-options.js';

const FORMAT_OF_EXTENSION: ReadonlyMap<string, DataFormat> = new Map([
  ['jsonl', 'jsonl'],
  ['ndjson', 'jsonl'],
  ['csv', 'csv'],
  ['tsv', 'tsv'],
  ['parquet', 'parquet'],
]);

export const FORMATS: readonly DataFormat[] = [...new Set(FORMAT_OF_EXTENSION.values())];

/** The records of a file, whatever its format. */
export async function* openRecords(file: string, options: RecordOptions = {}): RecordBlocks {
  const { names = DATA_SETTINGS, format = formatOf(file, names), quoting } = options;
  const how = { ...options, names };
  await refuseStandIn(file, 'data');
  switch (format) {
    case 'jsonl':
      yield* readJsonLines(file, options.signal);
      break;
    case 'csv':
      yield* readSeparatedValues(file, { ...how, separator: ',', quoting: quoting ?? 'csv' });
      break;
    case 'tsv':
      yield* readSeparatedValues(file, { ...how, separator: '\t', quoting: quoting ?? 'auto' });
      break;
    case 'parquet':
      yield* readParquet(file, how);
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
