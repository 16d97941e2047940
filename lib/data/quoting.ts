import { isWellQuoted } from './record-splitter.js';
import { kindOfSource } from './source.js';
import { anyLineEnd, readRegions } from './text-stream.js';

/**
 * What a quote at the beginning of a field means in separated values:
 *
 * - `'csv'`: the field is quoted, as in RFC 4180. The default for CSV.
 * - `'none'`: nothing. Quotes are text, and every line is a row.
 * - `'auto'`: the file is looked through first. Where every quote with which a field begins is closed in the same line,
 *   right before a separator or the line's end, this is `'csv'`; otherwise `'none'`. The default for TSV, which is written
 *   both ways.
 */
export type Quoting = 'auto' | 'csv' | 'none';

export const QUOTINGS: readonly Quoting[] = ['auto', 'csv', 'none'];

/**
 * Whether the fields of a file are quoted, as far as the file tells: undefined where it cannot be looked through, because
 * what is read of it is gone.
 */
export async function fieldsAreQuoted(
  path: string,
  separator: ',' | '\t',
  signal?: AbortSignal,
): Promise<boolean | undefined> {
  if ((await kindOfSource(path)) !== 'file') return undefined;
  for await (const { text } of readRegions(path, anyLineEnd, signal)) {
    if (!text.includes('"')) continue;
    for (const line of text.split(/[\n\r]/))
      if (line.includes('"') && !isWellQuoted(line, separator)) return false;
  }
  return true;
}
