import { refuseStandIn } from '../data/source.js';
import { cutRegions, isDecoded, lineEnds, readRegions } from '../data/text-stream.js';
import type { SettingNames } from '../data/setting-names.js';
import { readColumns, type TaskOptions } from '../evaluation/records.js';
import { GradCacheError } from '../errors.js';
import { UsageError, type Arguments } from './flags.js';
import { FILE_FLAGS } from './table-flags.js';

/**
 * The texts of a file, one after the other: its lines, or one column of a data file. An empty line or value is an empty
 * text, so that rows stay with their lines.
 *
 * @param input path of the file (lines also with .gz), or `-` for standard input
 * @param column the column to read; lines where left out
 * @param how how a file with columns is read, and what its settings are called: by default as for the input of `embed`
 * @throws GradCacheError `INPUT` naming the file
 */
export async function* readTexts(
  input: string,
  column: string | undefined,
  how: Omit<TaskOptions, 'columns'> & { readonly names?: SettingNames } = {},
): AsyncGenerator<string, void, undefined> {
  const { names = FILE_FLAGS.input } = how;
  if (column !== undefined) {
    const path = input === '-' ? '/dev/stdin' : input;
    for await (const row of readColumns(path, [column], { ...how, names, emptyTexts: true }))
      yield row[column] as string;
    return;
  }
  if (hasColumns(input)) {
    throw new UsageError(`${input} has columns: say which holds the texts with ${names.columns} NAME.`);
  }
  if (input !== '-') await refuseStandIn(input, 'lines');
  const regions =
    input === '-' ? cutRegions(process.stdin, 'standard input', lineEnds) : readRegions(input, lineEnds);
  for await (const { text, line } of regions) {
    const lines = text.split('\n');
    if (lines.at(-1) === '') lines.pop(); // what follows the last line end is no line
    for (const [index, raw] of lines.entries()) {
      if (!isDecoded(raw))
        throw new GradCacheError('INPUT', `${input}, line ${line + index}: it is not UTF-8 text.`);
      yield raw.endsWith('\r') ? raw.slice(0, -1) : raw;
    }
  }
}

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
  if (file !== undefined)
    return readTexts(file, hasColumns(file) ? (given ?? column) : given, { names, signal });
  if (given !== undefined)
    throw new UsageError(`${names.columns} is the column of --${flag}, which is not given.`);
  return [];
}

/** Whether a file has columns, by its name. */
export function hasColumns(path: string): boolean {
  return /\.(jsonl|ndjson|json|csv|tsv|parquet|arrow)(\.gz)?$/i.test(path);
}
