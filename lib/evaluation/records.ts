import { dataFiles } from '../data/data-files.js';
import { formatOf } from '../data/formats.js';
import { checkReadOptions } from '../data/read-pairs.js';
import { readRows, type RowOptions } from '../data/read-rows.js';
import { badLine } from '../data/row.js';
import { DATA_SETTINGS, otherRow } from '../data/setting-names.js';

/** How a file is read: as in `readPairs`, except that numbers count as texts and bad lines are always errors. */
export type TaskOptions = Pick<
  RowOptions,
  'columns' | 'format' | 'header' | 'quoting' | 'delimiter' | 'signal'
>;

/**
 * Columns of a file, or of the files of a folder or pattern, row by row. Unlike in `readPairs`, a number is taken as its text, since scores and ids are often
 * written so, a column named in `optional` may be missing, and with `emptyTexts` any may be empty.
 *
 * @param how `names`: what its settings are called; `wayOut`: what to do about a bad line, where they are none
 * @throws GradCacheError `INPUT` naming file and line
 */
export async function* readColumns(
  path: string,
  columns: readonly string[],
  how: Omit<TaskOptions, 'columns'> &
    Pick<RowOptions, 'optional' | 'emptyTexts' | 'check' | 'names'> & { readonly wayOut?: string } = {},
): AsyncGenerator<Record<string, string>, void, undefined> {
  const { names = DATA_SETTINGS, wayOut = otherRow(names), ...options } = how;
  const { optional = [], format, header, quoting, delimiter, signal } = options;
  checkReadOptions({ columns: [...columns, ...optional], format, header, quoting, delimiter, signal }, names);
  const files = dataFiles([path]);
  if (format === undefined) for (const file of files) formatOf(file, names, delimiter);
  yield* readRows(files, { ...options, names, columns, numbers: true }, (line) => {
    throw badLine(line, wayOut);
  });
}
