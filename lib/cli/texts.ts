import { columnOfTexts, readTexts } from '../evaluation/file-texts.js';
import { UsageError, type Arguments } from './flags.js';
import { FILE_FLAGS } from './table-flags.js';

/**
 * The texts of the file that `--documents` or `--corpus` names: its lines, or a column of one that has columns. None where it
 * is not given.
 *
 * @param column the column, unless a flag names another
 * @throws UsageError for a column without a file
 */
export function furtherTexts(
  args: Arguments,
  flag: 'documents' | 'corpus',
  column: string,
  signal: AbortSignal,
): Iterable<string> | AsyncIterable<string> {
  const names = FILE_FLAGS[flag];
  const file = args.text(flag);
  const given = args.text(names.columns.slice(2));
  if (file !== undefined) return readTexts(file, columnOfTexts(file, given, column), { names, signal });
  if (given !== undefined)
    throw new UsageError(`${names.columns} is the column of --${flag}, which is not given.`);
  return [];
}
