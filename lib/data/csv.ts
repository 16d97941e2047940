import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { fieldsAreQuoted, type Quoting } from './quoting.js';
import { type Fields, RecordSplitter } from './record-splitter.js';
import { isAmong } from './column-numbers.js';
import type { RecordOptions } from './record-options.js';
import type { ReadRecord, RecordBlocks } from './row.js';
import { namingColumns, otherHeader, sayQuoting, type SettingNames } from './setting-names.js';
import { splitFile } from './split-file.js';
import { isDecoded } from './text-stream.js';
import { plural } from '../options/plural.js';

/** How separated values are read. */
export interface SeparatedValues extends RecordOptions {
  /** What stands between two fields. */
  readonly separator: string;
  readonly quoting: Quoting;
  readonly names: SettingNames;
}

/**
 * Reads comma- or tab-separated values. Blank lines are passed over.
 *
 * @throws GradCacheError `INPUT` for a file that cannot be read, or whose header lacks a wanted column.
 */
export async function* readSeparatedValues(path: string, how: SeparatedValues): RecordBlocks {
  const { separator, quoting, header, names, signal } = how;
  const told = quoting === 'auto' ? await fieldsAreQuoted(path, how) : quoting === 'csv';
  let columns = header;
  const toRecords = (all: readonly Fields[]): ReadRecord[] => {
    const records: ReadRecord[] = [];
    for (const fields of all) {
      if (told === undefined) refuseQuotes(fields, path, names);
      if (columns === 'none') records.push(withoutNames(fields, names));
      else if (columns === undefined) columns = checkHeader(fields, path, how);
      else records.push(toRecord(fields, columns, told === true, how));
    }
    return records;
  };
  const splitter = new RecordSplitter(separator, told === true);
  for await (const records of splitFile(path, splitter, signal)) yield toRecords(records);
}

function refuseQuotes({ fields, line }: Fields, path: string, names: SettingNames): void {
  const quoted = fields.find((field) => field.startsWith('"'));
  if (quoted === undefined) return;
  throw new GradCacheError(
    'INPUT',
    `${path}, line ${line}: a field begins with a quote, and this file is no regular file that could be looked through to ` +
      `see whether fields are quoted. ${sayQuoting(names)}`,
  );
}

function checkHeader(
  { fields, line, problem }: Fields,
  path: string,
  { columns: wanted, names: settings, namedBy }: SeparatedValues,
): readonly string[] {
  if (problem !== undefined)
    throw new GradCacheError('INPUT', `${path}, line ${line}: the header cannot be read, ${problem}.`);
  if (!fields.every(isDecoded))
    throw new GradCacheError(
      'INPUT',
      `${path}, line ${line}: the header is not UTF-8 text; save the file as UTF-8.`,
    );
  const names = fields.map((field) => field.trim());
  const missing = wanted?.filter((column) => !isAmong(column, names)) ?? [];
  if (missing.length > 0) {
    throw new GradCacheError(
      'INPUT',
      `${path}, line ${line}: there is no column ${missing.map(show).join(', ')}; the header has ${names.map(show).join(', ')}. ` +
        otherHeader(namingColumns(missing, settings, namedBy)),
    );
  }
  for (const name of wanted?.filter((column) => names.includes(column)) ?? names) {
    if (name === '' || name === '__proto__' || names.indexOf(name) !== names.lastIndexOf(name)) {
      throw new GradCacheError(
        'INPUT',
        `${path}, line ${line}: the header's column ${show(name)} is empty, reserved or not unique.`,
      );
    }
  }
  return names;
}

function toRecord(
  record: Fields,
  columns: readonly string[],
  quoted: boolean,
  { header, names }: SeparatedValues,
): ReadRecord {
  const { line, lines, fields } = record;
  const problem = problemOf(record, names);
  if (problem !== undefined) return { line, problem };
  if (fields.length !== columns.length) {
    const place = lines > 1 ? `, up to line ${line + lines - 1}` : '';
    const advice =
      !quoted && names.quoting !== undefined && fields.some((field) => field.startsWith('"'))
        ? ` (${names.quoting} csv reads fields in quotes over separators and line ends)`
        : header === undefined
          ? ''
          : ` (without a header all fields of a row are named: ${names.fields})`;
    return {
      line,
      problem: `it has ${plural(fields.length, 'field')} instead of ${columns.length}${place}${advice}`,
    };
  }
  const values: Record<string, string> = {};
  for (let i = 0; i < columns.length; i++) values[columns[i]!] = fields[i]!;
  return { line, values, fields };
}

/** A record whose fields have no names: a list of them. */
function withoutNames(record: Fields, names: SettingNames): ReadRecord {
  const { line, fields } = record;
  const problem = problemOf(record, names);
  return problem === undefined ? { line, values: fields } : { line, problem };
}

function problemOf({ fields, problem }: Fields, { quoting }: SettingNames): string | undefined {
  if (problem !== undefined)
    return `${problem}${quoting === undefined ? '' : ` (${quoting} none reads quotes as text)`}`;
  return fields.every(isDecoded) ? undefined : 'it is not UTF-8 text';
}
