/*
 * Columns of ids beside those of texts: what a row is about. A row has the text of its id there, or the JSON of a list of ids.
 */
import { GradCacheError } from '../errors.js';
import { refused, show } from '../options/option-values.js';
import type { LabelledRow, LabelledRowSource, Row } from './row.js';

/** The ids of each row of a batch, on all ranks; undefined where the data has none. */
export type BatchIds = readonly (readonly string[])[] | undefined;

/** @param others columns that are something else @throws GradCacheError `INPUT` */
export function checkIds(ids: unknown, others: readonly string[]): void {
  const good =
    Array.isArray(ids) &&
    ids.length > 0 &&
    new Set(ids).size === ids.length &&
    ids.every((name) => typeof name === 'string' && name !== '' && name !== '__proto__');
  if (!good) throw refused('ids', ids, 'a list of different names of columns');
  if (ids.some((name) => others.includes(name as string)))
    throw refused('ids', ids, 'a list of columns that are neither texts nor the label');
}

/** The value of a column of ids as text. Undefined for what is neither an id nor a list of them, which may be empty. */
export function idsText(value: unknown): string | undefined {
  const list = Array.isArray(value) ? value : typeof value === 'string' ? listIn(value) : undefined;
  if (list === undefined) return idText(value);
  const ids = list.map(idText);
  return ids.includes(undefined) ? undefined : JSON.stringify(ids);
}

/** The ids in the text that {@link idsText} gave. */
function idsIn(text: string): readonly string[] {
  return (listIn(text) as readonly string[] | undefined) ?? [text];
}

/** A number above 2^53 may have been rounded where it was read, and two of them would then be one. */
function idText(value: unknown): string | undefined {
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return String(value);
  return (typeof value === 'string' && value.trim()) || undefined;
}

/** The list whose JSON a text is; undefined where it is none. */
function listIn(text: string): readonly unknown[] | undefined {
  if (!text.trimStart().startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined; // an id that begins with a bracket
  }
}

/** What is wrong with a value of a column of ids, for messages. */
export function idsProblem(column: string, value: unknown): string {
  const found =
    value === undefined ? `it has no id ${show(column)}` : `the id ${show(column)} is ${show(value)}`;
  return `${found}; a text, a whole number or a list of them is needed, [] for none (ids, --ids)${hasRounded(value) ? '; numbers above 2^53 are read as texts alone' : ''}`;
}

function hasRounded(value: unknown): boolean {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  return values.some((each) => Number.isInteger(each) && !Number.isSafeInteger(each));
}

/** The ids of rows. */
export class RowIds {
  readonly #of = new WeakMap<Row, readonly string[]>();

  constructor(readonly columns: readonly string[]) {}

  /** All ids of a row that {@link RowIds.apart} gave. */
  of(row: Row): readonly string[] {
    return this.#of.get(row)!;
  }

  /**
   * The rows without their ids.
   *
   * @param took told of each row that took the place of another
   * @throws GradCacheError `INPUT`, while they are read, for a row without one
   */
  async *apart(
    rows: LabelledRowSource,
    took: (row: Row, before: Row) => void = () => undefined,
  ): AsyncGenerator<Row, void, undefined> {
    let number = 0;
    for await (const row of rows) {
      // What is no row is refused by those who read the texts.
      if (typeof row !== 'object' || row === null || Array.isArray(row)) yield row as Row;
      else {
        const texts = this.#read(row, number);
        took(texts, row as Row);
        yield texts;
      }
      number++;
    }
  }

  #read(row: LabelledRow, number: number): Row {
    const texts = { ...row };
    const ids = this.columns.flatMap((column) => {
      const text = idsText(row[column]);
      if (text === undefined)
        throw new GradCacheError('INPUT', `Row ${number}: ${idsProblem(column, row[column])}.`);
      delete texts[column];
      return idsIn(text);
    });
    this.#of.set(texts as Row, ids);
    return texts as Row;
  }
}
