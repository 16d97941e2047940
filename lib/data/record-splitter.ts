const QUOTE = 34;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** A record over several lines that is longer is taken for a stray quote; it bounds what is held for a quote to close. */
const MAX_SPREAD = 16 * 1024 * 1024;
/** How much text the records that are given at a time cover: the event loop waits for no more. */
const BLOCK = 256 * 1024;

/** Fields of one record as they stand in the file, without their quotes. */
export interface Fields {
  /** The line on which the record begins, counted from 1. */
  readonly line: number;
  /** How many lines it covers. */
  readonly lines: number;
  readonly fields: readonly string[];
  /** The record as it stands in the file, where it covers several lines. */
  readonly source?: string;
  readonly problem?: string;
}

/**
 * Cuts separated values into records and their fields. A line ends with a line feed, a carriage return or both.
 *
 * With quoting, as RFC 4180 has it, a field that begins with a quote goes on to the next lone quote, over separators and
 * line ends; a doubled quote in it stands for one. A quote further inside a field is text. A record whose quotes are wrong
 * is given up after its first line: what follows a stray quote is not lost. A quote that is not closed within 16 Mi
 * characters is wrong, too.
 */
export class RecordSplitter {
  readonly #separator: string;
  readonly #quoted: boolean;
  /** Text from the beginning of a record whose quote is still open. */
  #held: string[] = [];
  #heldLength = 0;
  #line = 1;
  /** Whether a field in quotes so far had a doubled quote in it. */
  escaped = false;

  /** @param separator what stands between two fields: a character or several */
  constructor(separator: string, quoted: boolean) {
    this.#separator = separator;
    this.#quoted = quoted;
  }

  /** Counts the lines of the next text of the file, and passes it over; false where a field in it may be quoted. */
  passOver(text: string): boolean {
    if (this.#held.length > 0 || text.includes('"')) return false;
    this.#line += countLineEnds(text);
    return true;
  }

  /** The records that end in whole lines of text, the next of the file, in blocks. */
  *push(text: string): Generator<Fields[], void, undefined> {
    const open = this.#held.length > 0;
    this.#held.push(text);
    this.#heldLength += text.length;
    // Without this, a long quoted field would be gone over again with each piece of it. A piece ends with a line, so no
    // doubled quote is in two of them.
    if (open && this.#heldLength <= MAX_SPREAD && closingQuote(text, 0) < 0) return;
    yield* this.#split(false);
  }

  /** The records that are left at the end of the file, in blocks. */
  *end(): Generator<Fields[], void, undefined> {
    yield* this.#split(true);
  }

  *#split(final: boolean): Generator<Fields[], void, undefined> {
    const text = this.#held.join('');
    let records: Fields[] = [];
    let at = 0;
    let blockEnd = BLOCK;
    // Quotes with which no record comes to a good end, and why: without this, each line would be gone over from each
    // line before it.
    const hopeless = new Map<number, string>();
    while (at < text.length) {
      const record = this.#read(text, at, final, hopeless);
      if (record === undefined) break;
      const { fields, problem, lines, end } = record;
      if (record.escaped === true) this.escaped = true;
      const blank = problem === undefined && fields.length === 1 && fields[0] === '';
      const source = lines > 1 ? text.slice(at, end) : undefined;
      if (!blank) records.push({ line: this.#line, lines, fields, source, problem });
      this.#line += lines;
      at = end;
      if (at < blockEnd) continue;
      yield records;
      records = [];
      blockEnd = at + BLOCK;
    }
    this.#held = at < text.length ? [text.slice(at)] : [];
    this.#heldLength = text.length - at;
    yield records;
  }

  /** The record that begins at a place, or undefined where more text is needed. */
  #read(text: string, at: number, final: boolean, hopeless: Map<number, string>): RecordInText | undefined {
    const opened: number[] = [];
    const record = this.#quoted
      ? readRecord(text, at, this.#separator, { opened, hopeless })
      : readRecord(text, at, this.#separator);
    let problem = record?.problem;
    if ((record?.end ?? text.length) - at > MAX_SPREAD && record?.lines !== 1)
      problem = `a quote that opens here is not closed within ${MAX_SPREAD} characters`;
    else if (record === undefined && final) problem = 'a quote that opens here is never closed';
    if (problem === undefined) return record;
    for (const quote of opened) hopeless.set(quote, problem);
    return giveUp(text, at, problem);
  }
}

/** The quotes that open fields: those of this record, and those that are known to end badly. */
interface Quotes {
  readonly opened: number[];
  readonly hopeless: ReadonlyMap<number, string>;
}

interface RecordInText {
  readonly fields: readonly string[];
  readonly problem?: string;
  /** Whether a field in quotes has a doubled quote in it. */
  readonly escaped?: boolean;
  readonly lines: number;
  /** Where the next record begins. */
  readonly end: number;
}

/** The record that begins at a place in the text, or undefined where a quote opens in it that the text does not close. */
function readRecord(
  text: string,
  begin: number,
  separator: string,
  quotes?: Quotes,
): RecordInText | undefined {
  const fields: string[] = [];
  let lines = 1;
  let escaped = false;
  let at = begin;
  for (;;) {
    if (quotes !== undefined && text.charCodeAt(at) === QUOTE) {
      const known = quotes.hopeless.get(at);
      if (known !== undefined) return giveUp(text, begin, known);
      quotes.opened.push(at);
      const close = closingQuote(text, at + 1);
      if (close < 0) return undefined;
      const field = text.slice(at + 1, close);
      lines += countLineEnds(field);
      if (field.includes('"')) escaped = true;
      fields.push(field.replaceAll('""', '"'));
      at = close + 1;
      if (at < text.length && !endsLine(text.charCodeAt(at)) && !text.startsWith(separator, at))
        return giveUp(text, begin, 'there is text after a closing quote');
    } else {
      const end = fieldEnd(text, at, separator);
      fields.push(text.slice(at, end));
      at = end;
    }
    if (at >= text.length || !text.startsWith(separator, at)) break;
    at += separator.length;
  }
  return { fields, escaped, lines, end: afterLineEnd(text, at) };
}

/** A record of one line that has a problem. */
function giveUp(text: string, begin: number, problem: string): RecordInText {
  let at = begin;
  while (at < text.length && !endsLine(text.charCodeAt(at))) at++;
  return { fields: [], problem, lines: 1, end: afterLineEnd(text, at) };
}

/** The next quote that is not doubled. */
function closingQuote(text: string, from: number): number {
  let at = text.indexOf('"', from);
  while (at >= 0 && text.charCodeAt(at + 1) === QUOTE) at = text.indexOf('"', at + 2);
  return at;
}

function fieldEnd(text: string, from: number, separator: string): number {
  const first = separator.charCodeAt(0);
  let at = from;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (endsLine(code) || (code === first && text.startsWith(separator, at))) break;
  }
  return at;
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
