/*
 * The texts of a file of lines, or of one column of a file with columns.
 */
import type { SettingNames } from '../data/setting-names.js';
import { refuseStandIn } from '../data/source.js';
import { cutRegions, isDecoded, lineEnds, readRegions } from '../data/text-stream.js';
import { GradCacheError } from '../errors.js';
import { readColumns, type TaskOptions } from './records.js';

/**
 * The texts of a file, one after the other: its lines, or one column of a data file. An empty line or value is an empty
 * text, so that rows stay with their lines.
 *
 * @param input path of the file (lines also with .gz), or `-` for standard input
 * @param column the column to read; lines where left out
 * @param how how a file with columns is read, and what its settings are called
 * @throws GradCacheError `INPUT` naming the file
 */
export async function* readTexts(
  input: string,
  column: string | undefined,
  how: Omit<TaskOptions, 'columns'> & { readonly names: SettingNames },
): AsyncGenerator<string, void, undefined> {
  const { names } = how;
  if (column !== undefined) {
    const path = input === '-' ? '/dev/stdin' : input;
    for await (const row of readColumns(path, [column], { ...how, emptyTexts: true }))
      yield row[column] as string;
    return;
  }
  if (hasColumns(input)) {
    throw new GradCacheError(
      'INPUT',
      `${input} has columns: say which holds the texts with ${names.columns} NAME.`,
    );
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

/** The column of texts in a file: the one that is given, else `usual` where the file has columns; none: its lines are the texts. */
export function columnOfTexts(path: string, given: string | undefined, usual: string): string | undefined {
  return given ?? (hasColumns(path) ? usual : undefined);
}

/** Whether a file has columns, by its name. */
export function hasColumns(path: string): boolean {
  return /\.(jsonl|ndjson|json|csv|tsv|parquet|arrow)(\.gz)?$/i.test(path);
}
