import { isOneFile } from '../data/data-files.js';
import { delimiterProblem, typedDelimiter } from '../data/delimiter.js';
import { formatOf, FORMATS } from '../data/formats.js';
import { problemOf } from '../options/option-values.js';
import type { DataFormat } from '../data/record-options.js';
import { QUOTINGS } from '../data/quoting.js';
import type { SettingNames } from '../data/setting-names.js';
import type { TaskOptions } from '../evaluation/records.js';
import { type Arguments, type Flags, list, offSwitch, text, UsageError } from './flags.js';

/** The formats of files with columns, as the help lists them. */
export const FORMAT_NAMES = `${FORMATS.slice(0, -1).join(', ')} or ${FORMATS.at(-1)}`;

/**
 * Flags that say how a file with columns is read.
 *
 * @param columns the flag that names its columns
 * @param prefix of their names
 * @param section what the settings that they set are in: `evaluation.`; undefined where they set none
 */
export function tableFlags(columns: string, prefix = '', section?: string): Flags {
  const sets = (name: string) => (section === undefined ? undefined : section + name);
  const header = `the first line of a CSV or TSV file is a row; ${columns} names its fields`;
  const fields = `names of all fields of a CSV or TSV file without a header; ${columns} picks some`;
  const quoting =
    'quotes around fields: csv (default for .csv), none, or auto (default for .tsv): as the file looks';
  return {
    [`${prefix}header`]: offSwitch(header, sets('header')),
    [`${prefix}fields`]: list('A,B,C', fields, sets('header')),
    [`${prefix}quoting`]: text('KIND', quoting, sets('quoting')),
    [`${prefix}delimiter`]: text(
      'TEXT',
      "what stands between fields, such as ';' or '\\t'; default: a comma (.csv) or a tab (.tsv)",
      sets('delimiter'),
    ),
  };
}

export const TABLE_FLAGS = tableFlags('--columns');

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
  corpus: { columns: '--corpus-column' },
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
): Pick<TaskOptions, 'format' | 'header' | 'quoting' | 'delimiter'> {
  const format = args.oneOf(formatFlag, FORMATS);
  const quoting = args.oneOf('quoting', QUOTINGS);
  const fields = args.list('fields');
  const header = args.get('header') as boolean | undefined; // undefined where the flag was not given
  if (fields !== undefined && header === true)
    throw new UsageError(
      '--header and --fields contradict each other: --fields is for a file without a header.',
    );
  const given = Object.keys(TABLE_FLAGS).find((name) => args.get(name) !== undefined);
  const typed = args.text('delimiter');
  const delimiter = typed === undefined ? undefined : typedDelimiter(typed);
  const problem = delimiter === undefined ? undefined : delimiterProblem(delimiter);
  if (problem !== undefined) throw new UsageError(`--delimiter ${problemOf(typed, problem)}`);
  const isOne = isOneFile(file);
  const actual: DataFormat | undefined =
    format ?? (given === undefined || !isOne ? undefined : formatOf(file, undefined, delimiter));
  if (given !== undefined && actual !== undefined && actual !== 'csv' && actual !== 'tsv')
    throw new UsageError(`${args.typed(given)} is for CSV and TSV files; ${file} is ${actual}.`);
  return { format, header: fields ?? header, quoting, delimiter };
}
