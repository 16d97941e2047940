import { GradCacheError } from '../errors.js';
import { type Fields, RecordSplitter } from './record-splitter.js';
import { sayQuoting, type SettingNames } from './setting-names.js';
import { kindOfSource } from './source.js';
import { splitFile } from './split-file.js';

/**
 * What a quote at the beginning of a field means in separated values:
 *
 * - `'csv'`: the field is quoted, as in RFC 4180. The default for CSV.
 * - `'none'`: nothing. Quotes are text, and every line is a row.
 * - `'auto'`: the file is looked through first. Where a quote with which a field begins is never closed, or not right before
 *   a separator or a line's end, this is `'none'`. Otherwise it is `'csv'`, unless fields then go over line ends and the rows
 *   do not have their number of columns. A file whose lines have that number as well can be read both ways, and is refused.
 *   The default for TSV, which is written both ways.
 */
export type Quoting = 'auto' | 'csv' | 'none';

export const QUOTINGS: readonly Quoting[] = ['auto', 'csv', 'none'];

/**
 * Whether the fields of a file are quoted. Undefined for a file that can be read only once, such as a pipe: it cannot be
 * looked through first.
 *
 * @throws GradCacheError `INPUT` where it can be read both ways
 */
export async function fieldsAreQuoted(
  path: string,
  how: {
    readonly separator: string;
    readonly header?: readonly string[] | 'none' | undefined;
    readonly names: SettingNames;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<boolean | undefined> {
  if ((await kindOfSource(path)) !== 'file') return undefined;
  const { separator, header, names, signal } = how;
  const splitter = new RecordSplitter(separator, true);
  const evidence = new Evidence(separator, header === 'none' ? undefined : header?.length);
  for await (const records of splitFile(path, splitter, signal, () => evidence.columns !== undefined))
    if (!evidence.take(records)) return false;
  return evidence.decide(path, splitter.escaped, names);
}

/** What tells whether fields that go over line ends are quoted, or begin with a quote by chance. */
class Evidence {
  /** The first record over several lines. */
  #spread: Fields | undefined;
  /** Such records have the number of columns, and so have their lines if quotes are text. */
  #recordsFit = true;
  #linesFit = true;

  constructor(
    readonly separator: string,
    public columns: number | undefined,
  ) {}

  /** @returns false where the quotes are wrong, so that they must be text */
  take(records: readonly Fields[]): boolean {
    for (const record of records) {
      if (record.problem !== undefined) return false;
      const { fields, source } = record;
      this.columns ??= fields.length;
      if (source === undefined) continue;
      this.#spread ??= record;
      if (fields.length !== this.columns) this.#recordsFit = false;
      for (const line of source.split(/[\n\r]/))
        if (line !== '' && line.split(this.separator).length !== this.columns) this.#linesFit = false;
    }
    return true;
  }

  /** @param escaped whether a field in quotes has a doubled quote in it, which a text that is not quoted never has */
  decide(path: string, escaped: boolean, names: SettingNames): boolean {
    if (this.#spread === undefined) return true;
    if (this.#recordsFit !== this.#linesFit) return this.#recordsFit;
    if (this.#recordsFit && escaped) return true;
    const { line, lines } = this.#spread;
    throw new GradCacheError(
      'INPUT',
      `${path}, line ${line}: a quote opens here and closes in line ${line + lines - 1}. Either this is one field in quotes, ` +
        'or quotes are text and every line is a row: the file does not tell. ' +
        sayQuoting(names),
    );
  }
}
