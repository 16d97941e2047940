import { GradCacheError } from '../errors.js';
import { show } from '../option-values.js';
import type { ReadRecord, RecordBlocks } from './row.js';
import { countLineFeeds, decodeBytes, readRegions } from './text-stream.js';
import type { RecordEnds } from './text-stream.js';

const QUOTE = 34;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** Fields of one record as they stand in the file, without their quotes. */
interface Fields {
  readonly line: number;
  readonly fields: readonly string[];
  readonly problem?: string;
}

/**
 * Reads comma- or tab-separated values with the quoting of RFC 4180: a field that begins with a quote goes on to the
 * next lone quote, over separators and line ends; a doubled quote in it stands for one. A quote further inside an
 * unquoted field is text. Blank lines are passed over.
 *
 * @param header the columns' names where the file does not begin with them
 * @param wanted columns that the file must have
 * @throws GradCacheError `INPUT` for a file that cannot be read, or whose header lacks a wanted column.
 */
export async function* readSeparatedValues(
  path: string,
  separator: ',' | '\t',
  header: readonly string[] | undefined,
  wanted: readonly string[] | undefined,
): RecordBlocks {
  let columns = header;
  const byte = separator.charCodeAt(0);
  for await (const { text, encoding, line } of readRegions(path, quotedRecordEnds(byte))) {
    const records: ReadRecord[] = [];
    for (const raw of splitRecords(text, byte, line)) {
      const record = encoding === 'utf8' ? raw : decodeFields(raw);
      if (record.problem === undefined && columns === undefined) {
        columns = checkHeader(record, path, wanted);
      } else {
        records.push(toRecord(record, columns));
      }
    }
    yield records;
  }
}

function checkHeader(
  { fields, line }: Fields,
  path: string,
  wanted: readonly string[] | undefined,
): readonly string[] {
  const names = fields.map((field) => field.trim());
  const missing = wanted?.filter((column) => !names.includes(column)) ?? [];
  if (missing.length > 0) {
    throw new GradCacheError(
      'INPUT',
      `${path}, line ${line}: there is no column ${missing.map(show).join(', ')}; the header has ${names.map(show).join(', ')}. ` +
        'Name other columns, or say that the file has no header (header: false, --no-header).',
    );
  }
  for (const name of wanted ?? names) {
    if (name === '' || name === '__proto__' || names.indexOf(name) !== names.lastIndexOf(name)) {
      throw new GradCacheError(
        'INPUT',
        `${path}, line ${line}: the header's column ${show(name)} is empty, reserved or not unique.`,
      );
    }
  }
  return names;
}

function toRecord({ line, fields, problem }: Fields, columns: readonly string[] | undefined): ReadRecord {
  if (problem !== undefined || columns === undefined)
    return { line, problem: problem ?? 'there is no header' };
  if (fields.length !== columns.length) {
    return { line, problem: `it has ${fields.length} fields instead of ${columns.length}` };
  }
  const values: Record<string, string> = {};
  for (let i = 0; i < columns.length; i++) values[columns[i]!] = fields[i]!;
  return { line, values };
}

function decodeFields(record: Fields): Fields {
  const fields = record.fields.map(decodeBytes);
  const problem = fields.includes(undefined) ? 'it is not UTF-8 text' : record.problem;
  return { line: record.line, fields: fields.map((field) => field ?? ''), problem };
}

/** Where a scan stands in a record. */
const enum Place {
  FieldStart,
  Unquoted,
  Quoted,
  /** After a quote inside a quoted field: the end of the field, or the first half of a doubled quote. */
  QuoteSeen,
}

/** Finds the line ends that are outside quotes. */
export function quotedRecordEnds(separator: number): RecordEnds {
  let place: Place = Place.FieldStart;
  return (piece) => {
    let end = 0;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at]!;
      if (place === Place.Quoted) {
        if (byte === QUOTE) place = Place.QuoteSeen;
      } else if (byte === LINE_FEED) {
        end = at + 1;
        place = Place.FieldStart;
      } else if (byte === separator) {
        place = Place.FieldStart;
      } else if (byte === QUOTE && place !== Place.Unquoted) {
        place = Place.Quoted;
      } else {
        place = Place.Unquoted;
      }
    }
    return end;
  };
}

/** Cuts text that begins with a record into records and their fields. */
export function splitRecords(text: string, separator: number, firstLine: number): Fields[] {
  const records: Fields[] = [];
  let line = firstLine;
  let at = 0;
  while (at < text.length) {
    const begin = line;
    const fields: string[] = [];
    let problem: string | undefined;
    for (;;) {
      if (text.charCodeAt(at) === QUOTE) {
        const close = closingQuote(text, at);
        if (close < 0) {
          problem = 'a quote that opens here is never closed';
          line += countLineFeeds(text, at, text.length);
          at = text.length;
          break;
        }
        line += countLineFeeds(text, at, close);
        fields.push(text.slice(at + 1, close).replaceAll('""', '"'));
        at = close + 1;
        const end = fieldEnd(text, at, separator);
        if (withoutReturn(text, at, end) !== at) problem ??= 'there is text after a closing quote';
        at = end;
      } else {
        const end = fieldEnd(text, at, separator);
        const last = text.charCodeAt(end) === separator ? end : withoutReturn(text, at, end);
        fields.push(text.slice(at, last));
        at = end;
      }
      if (text.charCodeAt(at) !== separator) break;
      at++;
    }
    if (text.charCodeAt(at) === LINE_FEED) {
      at++;
      line++;
    }
    const blank = problem === undefined && fields.length === 1 && fields[0] === '';
    if (!blank) records.push({ line: begin, fields, problem });
  }
  return records;
}

function closingQuote(text: string, open: number): number {
  let at = text.indexOf('"', open + 1);
  while (at >= 0 && text.charCodeAt(at + 1) === QUOTE) at = text.indexOf('"', at + 2);
  return at;
}

function fieldEnd(text: string, from: number, separator: number): number {
  let at = from;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === separator || code === LINE_FEED) break;
    at++;
  }
  return at;
}

function withoutReturn(text: string, begin: number, end: number): number {
  return end > begin && text.charCodeAt(end - 1) === CARRIAGE_RETURN ? end - 1 : end;
}
