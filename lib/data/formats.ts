import { GradCacheError } from '../errors.js';
import type { DataFormat } from './record-options.js';
import { DATA_SETTINGS, type SettingNames } from './setting-names.js';

const FORMAT_OF_EXTENSION: ReadonlyMap<string, DataFormat> = new Map([
  ['jsonl', 'jsonl'],
  ['ndjson', 'jsonl'],
  ['json', 'json'],
  ['csv', 'csv'],
  ['tsv', 'tsv'],
  ['parquet', 'parquet'],
  ['arrow', 'arrow'],
]);

export const FORMATS: readonly DataFormat[] = [...new Set(FORMAT_OF_EXTENSION.values()), 'smart'];

/** Formats that are not read from a gzip file. */
const NEVER_GZIP: readonly (DataFormat | undefined)[] = ['parquet', 'arrow'];

/** The format that a file's name tells, or undefined where it tells none. */
export function formatTold(file: string): DataFormat | undefined {
  const [, extension = ''] = /\.([^./\\]+)(?:\.gz)?$/.exec(file) ?? [];
  const format = FORMAT_OF_EXTENSION.get(extension.toLowerCase());
  return NEVER_GZIP.includes(format) && file.endsWith('.gz') ? undefined : format;
}

/**
 * The format that a file's name tells, or that of a file with a delimiter.
 *
 * @throws GradCacheError `INPUT` where it tells none
 */
export function formatOf(file: string, names: SettingNames = DATA_SETTINGS, delimiter?: string): DataFormat {
  const format = formatTold(file) ?? (delimiter === undefined ? undefined : 'csv');
  if (format !== undefined) return format;
  const known = [...FORMAT_OF_EXTENSION.keys()].map((each) => `.${each}`);
  throw new GradCacheError(
    'INPUT',
    `${file}: the format cannot be told from the name; use ${known.join(', ')} (.gz after the text ones)${names.format === undefined ? '' : `, or name the format (${names.format})`}.`,
  );
}

/** Whether a file tells about a data set of Python's datasets and holds none of it, by its name. */
export function isAboutData(path: string): boolean {
  return /(^|[/\\])(dataset_infos?|dataset_dict|state)\.json$/.test(path);
}
