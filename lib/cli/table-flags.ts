import { formatOf, FORMATS, type DataFormat } from '../data/open-records.js';
import { QUOTINGS } from '../data/quoting.js';
import type { SettingNames } from '../data/setting-names.js';
import type { TaskOptions } from '../evaluation/records.js';
import { type Arguments, type Flags, list, offSwitch, text, UsageError } from './flags.js';

/** Flags that say how a file with columns is read. */
export const TABLE_FLAGS = {
  header: offSwitch(
    'the first line of a CSV or TSV file is a row; its fields are the columns that are named',
  ),
  fields: list(
    'A,B,C',
    'names of all fields of a CSV or TSV file without a header, of which the columns are some',
  ),
  quoting: text(
    'KIND',
    'quotes around fields: csv (default for .csv), none, or auto (default for .tsv): as the file looks',
  ),
} as const satisfies Flags;

/** What flags call the settings of a file. */
export const FILE_FLAGS = {
  input: {
    columns: '--column',
    format: '--input-format',
    header: '--no-header',
    fields: '--fields',
    quoting: '--quoting',
  },
  documents: { columns: '--document-column' },
} as const satisfies Record<string, SettingNames>;

/**
 * How the flags say that a file is read.
 *
 * @param formatFlag the flag that names its format
 * @throws UsageError for a value that is none, and for a flag that means nothing for the file's format
 */
export function howToRead(
  args: Arguments,
  file: string,
  formatFlag: string,
): Pick<TaskOptions, 'format' | 'header' | 'quoting'> {
  const format = args.oneOf(formatFlag, FORMATS);
  const quoting = args.oneOf('quoting', QUOTINGS);
  const fields = args.list('fields');
  const header = args.get('header') as boolean | undefined; // undefined where the flag was not given
  if (fields !== undefined && header === true)
    throw new UsageError(
      '--header and --fields contradict each other: --fields is for a file without a header.',
    );
  const given = Object.keys(TABLE_FLAGS).find((name) => args.get(name) !== undefined);
  const actual: DataFormat | undefined = format ?? (given === undefined ? undefined : formatOf(file));
  if (given !== undefined && actual !== 'csv' && actual !== 'tsv')
    throw new UsageError(
      `--${given === 'header' && header === false ? 'no-header' : given} is for CSV and TSV files; ${file} is ${actual}.`,
    );
  return { format, header: fields ?? header, quoting };
}
