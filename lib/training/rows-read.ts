import { createHash } from 'node:crypto';
import type { Row, RowSource } from '../data/row.js';
import { GradCacheError } from '../errors.js';
import { plural } from '../options/plural.js';

/** Rows that a run has read in its first pass over the data, and a digest of their texts in their order. */
export interface RowsRead {
  readonly rows: number;
  readonly sha256: string;
  /** Whether these are all rows of the data. */
  readonly all: boolean;
}

/** Characters that are digested together: a call for every text would take as long as reading it. */
const BLOCK = 65_536;

/**
 * Digests the rows of a run while they are read for the first time, and compares them with those of the run that it goes
 * on from: rows in another order, or other rows, would make other batches.
 */
export class RowDigest {
  readonly #hash = createHash('sha256');
  #pending = '';
  #rows = 0;
  #all = false;

  /** @param expected what the run before has read; undefined for a new run */
  constructor(readonly expected: RowsRead | undefined) {}

  /**
   * The same rows. The first pass over them that is given here is digested.
   *
   * @throws GradCacheError `INPUT`, while they are read, where they are not the rows expected
   */
  async *watch(rows: RowSource): AsyncGenerator<Row, void, undefined> {
    if (this.#all || this.#rows > 0) {
      yield* rows;
      return;
    }
    for await (const row of rows) {
      this.#add(row);
      if (this.#rows === this.expected?.rows) this.#compare();
      yield row;
    }
    this.#all = true;
    const { expected } = this;
    if (expected === undefined) return;
    if (this.#rows < expected.rows)
      throw changed(`it had ${plural(expected.rows, 'row')} or more, now ${this.#rows}`);
    if (expected.all && this.#rows > expected.rows)
      throw changed(`it had ${plural(expected.rows, 'row')}, now ${this.#rows}`);
  }

  /** What has been read so far. */
  state(): RowsRead {
    this.#flush();
    return { rows: this.#rows, sha256: this.#hash.copy().digest('hex'), all: this.#all };
  }

  #add(row: Row): void {
    this.#rows++;
    // The length first: no two rows are written the same.
    for (const text of Object.values(row)) this.#pending += `${text.length}:${text}`;
    if (this.#pending.length > BLOCK) this.#flush();
  }

  #flush(): void {
    this.#hash.update(this.#pending);
    this.#pending = '';
  }

  #compare(): void {
    if (this.state().sha256 !== this.expected?.sha256)
      throw changed(`its first ${this.#rows} rows are others, or in another order`);
  }
}

function changed(what: string): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `The run cannot be resumed, the data has changed: ${what}. Use the same data, or start a new run from the model in the checkpoint.`,
  );
}
