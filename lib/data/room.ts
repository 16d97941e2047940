import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireFunction } from '../options/option-values.js';
import type { Row } from './row.js';

/** How a batch is filled by tokens. */
export interface Fill {
  /** A batch ends with the row that brings it to so many tokens. */
  readonly tokens: number;
  /**
   * The tokens of each text of some rows: for each row a list, in the order of its columns. It is asked once for a row, for
   * several rows at a time.
   */
  readonly measure: (
    rows: readonly Row[],
  ) => readonly (readonly number[])[] | PromiseLike<readonly (readonly number[])[]>;
  /**
   * The greatest length of a text in a batch, by the number of the batch, counted from 0 through all epochs: longer texts count
   * as long as this. See {@link lengthCurriculum}. Default: no limit.
   */
  readonly length?: (batch: number) => number;
}

/** @throws GradCacheError `INPUT` */
export function checkFill(fill: Fill): void {
  checkKnown('fill', fill, ['tokens', 'measure', 'length']);
  requireCount('fill.tokens', fill.tokens, 1);
  requireFunction('fill.measure', fill.measure);
  if (fill.length !== undefined) requireFunction('fill.length', fill.length);
}

/** The tokens of each text of rows. */
export type Lengths = WeakMap<Row, readonly number[]>;

/** How much room a batch has left, in rows and, if it is filled by them, in tokens. */
export class Room {
  readonly #size: number;
  readonly #fill: Pick<Fill, 'tokens' | 'length'> | undefined;
  readonly #lengths: Lengths;
  #batch = 0;
  #rows = 0;
  #tokens = 0;

  /** @param lengths the tokens of each text of a row, known before the row is added */
  constructor(size: number, fill: Pick<Fill, 'tokens' | 'length'> | undefined, lengths: Lengths) {
    this.#size = size;
    this.#fill = fill;
    this.#lengths = lengths;
  }

  /** How the batch is filled; nothing where it is filled by rows alone. */
  get filled(): { readonly tokens?: number; readonly length?: number } {
    if (this.#fill === undefined) return {};
    const length = this.#fill.length?.(this.#batch);
    return { tokens: this.#tokens, ...(length === undefined ? {} : { length }) };
  }

  get full(): boolean {
    return this.#rows === this.#size || (this.#fill !== undefined && this.#tokens >= this.#fill.tokens);
  }

  add(row: Row): void {
    this.#rows++;
    if (this.#fill === undefined) return;
    const most = this.#fill.length?.(this.#batch) ?? Infinity;
    for (const length of this.#lengths.get(row) ?? []) this.#tokens += Math.min(length, most);
  }

  /** Begins the next batch. */
  next(): void {
    this.#batch++;
    this.#rows = 0;
    this.#tokens = 0;
  }
}

/** How many rows are measured at a time. */
const MEASURED = 256;

/** Passes rows on once their lengths are known. A row that comes again, in a later epoch, is not measured again. */
export async function* withLengths(
  rows: AsyncIterable<Row>,
  { measure }: Fill,
  lengths: Lengths,
): AsyncGenerator<Row, void, undefined> {
  let block: Row[] = [];
  const measured = async (): Promise<Row[]> => {
    const fresh = block.filter((row) => !lengths.has(row));
    const found: unknown = fresh.length === 0 ? [] : await measure(fresh);
    if (!Array.isArray(found) || found.length !== fresh.length)
      throw refused('what fill.measure returned', found, `a list for each of ${fresh.length} rows`);
    for (const [place, of] of found.entries()) {
      if (!Array.isArray(of) || of.some((length) => !Number.isSafeInteger(length) || length < 0))
        throw refused('what fill.measure returned for a row', of, 'a list of whole numbers from 0');
      lengths.set(fresh[place]!, of as number[]);
    }
    const done = block;
    block = [];
    return done;
  };
  for await (const row of rows) {
    block.push(row);
    if (block.length === MEASURED) yield* await measured();
  }
  yield* await measured();
}
