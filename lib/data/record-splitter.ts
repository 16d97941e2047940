import { MAX_RECORD_BYTES } from './text-stream.js';

const QUOTE = 34;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** Fields of one record as they stand in the file, without their quotes. */
export interface Fields {
  /** The line on which the record begins, counted from 1. */
  readonly line: number;
  /** How many lines it covers. */
  readonly lines: number;
  readonly fields: readonly string[];
  readonly problem?: string;
}

/**
 * Cuts separated values into records and their fields. A line ends with a line feed, a carriage return or both.
 *
 * With quoting, as RFC 4180 has it, a field that begins with a quote goes on to the next lone quote, over separators and
 * line ends; a doubled quote in it stands for one. A quote further inside a field is text. A record whose quotes are wrong
 * is given up after its first line: what follows a stray quote is not lost.
 */
export class RecordSplitter {
  readonly #separator: number;
  readonly #quoted: boolean;
  /** Text from the beginning of a record whose quote is still open. */
  #held: string[] = [];
  #heldLength = 0;
  #line = 1;

  constructor(separator: ',' | '\t', quoted: boolean) {
    this.#separator = separator.charCodeAt(0);
    this.#quoted = quoted;
  }

  /** The records that end in whole lines of text, the next of the file. */
  push(text: string): Fields[] {
    this.#heldLength += text.length;
    this.#held.push(text);
    // Without this, a long quoted field would be gone over again with each piece of it.
    if (this.#held.length > 1 && !text.includes('"') && this.#heldLength <= MAX_RECORD_BYTES) return [];
    return this.#split(false);
  }

  /** The records that are left at the end of the file. */
  end(): Fields[] {
    return this.#split(true);
  }

  #split(final: boolean): Fields[] {
    const text = this.#held.join('');
    const records: Fields[] = [];
    let at = 0;
    while (at < text.length) {
      let record = readRecord(text, at, this.#separator, this.#quoted);
      if (record === undefined) {
        if (!final && text.length - at <= MAX_RECORD_BYTES) break;
        record = giveUp(text, at, 'a quote that opens here is never closed');
      }
      const { fields, problem, lines, end } = record;
      const blank = problem === undefined && fields.length === 1 && fields[0] === '';
      if (!blank) records.push({ line: this.#line, lines, fields, problem });
      this.#line += lines;
      at = end;
    }
    this.#held = at < text.length ? [text.slice(at)] : [];
    this.#heldLength = text.length - at;
    return records;
  }
}

/** Whether every quote with which a field of this line begins is closed in it, before a separator or its end. */
export function isWellQuoted(line: string, separator: ',' | '\t'): boolean {
  const record = readRecord(line, 0, separator.charCodeAt(0), true);
  return record !== undefined && record.problem === undefined;
}

interface RecordInText {
  readonly fields: readonly string[];
  readonly problem?: string;
  readonly lines: number;
  /** Where the next record begins. */
  readonly end: number;
}

/** The record that begins at a place in the text, or undefined where a quote opens in it that the text does not close. */
function readRecord(
  text: string,
  begin: number,
  separator: number,
  quoted: boolean,
): RecordInText | undefined {
  const fields: string[] = [];
  let lines = 1;
  let at = begin;
  for (;;) {
    if (quoted && text.charCodeAt(at) === QUOTE) {
      const close = closingQuote(text, at);
      if (close < 0) return undefined;
      const field = text.slice(at + 1, close);
      lines += countLineEnds(field);
      fields.push(field.replaceAll('""', '"'));
      at = close + 1;
      if (at < text.length && !endsField(text.charCodeAt(at), separator))
        return giveUp(text, begin, 'there is text after a closing quote');
    } else {
      const end = fieldEnd(text, at, separator);
      fields.push(text.slice(at, end));
      at = end;
    }
    if (text.charCodeAt(at) !== separator || at >= text.length) break;
    at++;
  }
  return { fields, lines, end: afterLineEnd(text, at) };
}

/** A record of one line that has a problem. */
function giveUp(text: string, begin: number, problem: string): RecordInText {
  let at = begin;
  while (at < text.length && !endsLine(text.charCodeAt(at))) at++;
  return { fields: [], problem, lines: 1, end: afterLineEnd(text, at) };
}

function closingQuote(text: string, open: number): number {
  let at = text.indexOf('"', open + 1);
  while (at >= 0 && text.charCodeAt(at + 1) === QUOTE) at = text.indexOf('"', at + 2);
  return at;
}

function fieldEnd(text: string, from: number, separator: number): number {
  let at = from;
  while (at < text.length && !endsField(text.charCodeAt(at), separator)) at++;
  return at;
}

function endsField(code: number, separator: number): boolean {
  return code === separator || endsLine(code);
}

function endsLine(code: number): boolean {
  return code === LINE_FEED || code === CARRIAGE_RETURN;
}

function afterLineEnd(text: string, at: number): number {
  const both = text.charCodeAt(at) === CARRIAGE_RETURN && text.charCodeAt(at + 1) === LINE_FEED;
  return at + (both ? 2 : 1);
}

function countLineEnds(text: string): number {
  return /[\n\r]/.test(text) ? text.split(/\r\n|\n|\r/).length - 1 : 0;
}
