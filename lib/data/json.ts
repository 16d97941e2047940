import { GradCacheError } from '../errors.js';
import { jsonLinesIn } from './jsonl.js';
import type { ReadRecord, RecordBlocks } from './row.js';
import { isDecoded, lineEnds, readRegions, type RecordEnds, type Region } from './text-stream.js';

const [QUOTE, BACKSLASH, COMMA] = [34, 92, 44];
const OPENING = new Set([91, 123]); // [ {
const CLOSING = new Set([93, 125]); // ] }
const SPACE = new Set([9, 10, 13, 32]);

/**
 * Reads a JSON file: one array of rows, or JSON lines, as many files of this name are. The array may be of any length. The line of
 * one of its rows is the number of the row.
 *
 * @throws GradCacheError `INPUT` for what is neither
 */
export async function* readJson(path: string, signal?: AbortSignal): RecordBlocks {
  const ends = new ElementEnds();
  let rows = 0;
  for await (const region of readRegions(path, (piece) => ends.of(piece), signal)) {
    if (ends.isArray !== true) {
      yield jsonLinesIn(region);
      continue;
    }
    const found = rowsIn(region, path, rows);
    rows += found.length;
    yield found;
  }
  if (ends.isArray === true && !ends.closed) throw noEnd(path, rows);
}

/** The rows in a part of an array that ends with a whole element. */
function rowsIn({ text }: Region, path: string, before: number): ReadRecord[] {
  const inside = text
    .trim()
    .replace(before === 0 ? /^\[/ : '', '')
    .trim()
    .replace(/[,\]]$/, '');
  if (inside.trim() === '') return [];
  let values: unknown[];
  try {
    values = JSON.parse(`[${inside}]`) as unknown[];
  } catch (error) {
    if (!/[,\]]$/.test(text.trim())) throw noEnd(path, before);
    throw fault(path, before, `what follows is not JSON (${(error as Error).message})`);
  }
  return values.map((value, place) => {
    const line = before + place + 1;
    if (typeof value !== 'object' || value === null)
      return { line, problem: 'it is neither a JSON object nor an array of texts' };
    const texts = Object.values(value);
    if (texts.some((text) => typeof text === 'string' && !isDecoded(text)))
      return { line, problem: 'it is not UTF-8 text' };
    return { line, values: value as Record<string, unknown> | unknown[] };
  });
}

const noEnd = (path: string, rows: number): GradCacheError =>
  fault(path, rows, 'the array of rows has no end');

function fault(path: string, rows: number, problem: string): GradCacheError {
  const where = rows === 0 ? '' : `, after row ${rows}`;
  return new GradCacheError(
    'INPUT',
    `${path}${where}: ${problem}. A JSON array of rows, or a row a line, is needed.`,
  );
}

/** Finds the ends of the elements of an array, or of lines where there is none. */
class ElementEnds {
  /** Whether the file is an array of rows; undefined until its first characters have come. */
  isArray: boolean | undefined;
  /** Whether the array has come to its end. */
  closed = false;
  #begun = false;
  #depth = 0;
  #inText = false;
  #escaped = false;

  readonly of: RecordEnds = (piece) => {
    const from = this.#begin(piece);
    if (this.isArray === undefined) return 0;
    return this.isArray ? this.#lastEnd(piece, from) : lineEnds(piece);
  };

  /**
   * An array of rows begins with `[{` or `[[`. JSON lines may be arrays of texts, `["`.
   *
   * @returns where the elements of the array begin in this piece
   */
  #begin(piece: Buffer): number {
    if (this.isArray !== undefined) return 0;
    for (const [at, byte] of piece.entries()) {
      if (SPACE.has(byte)) continue;
      if (!this.#begun && byte !== 91) {
        this.isArray = false;
        return 0;
      }
      if (this.#begun) {
        this.isArray = OPENING.has(byte) || CLOSING.has(byte);
        this.#depth = 1;
        return at;
      }
      this.#begun = true;
    }
    return 0;
  }

  /** Behind the last comma between elements, or the end of the array. */
  #lastEnd(piece: Buffer, from: number): number {
    let end = 0;
    for (let at = from; at < piece.length; at++) {
      const byte = piece[at]!;
      if (this.#inText) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#inText = false;
      } else if (byte === QUOTE) this.#inText = true;
      else if (OPENING.has(byte)) this.#depth++;
      else if (CLOSING.has(byte)) {
        this.#depth--;
        if (this.#depth === 0) {
          this.closed = true;
          end = at + 1;
        }
      } else if (byte === COMMA && this.#depth === 1) end = at + 1;
    }
    return end;
  }
}
