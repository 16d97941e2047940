import { formatTold } from './formats.js';
import { openRecords, type RecordOptions } from './open-records.js';
import { namesOfList } from './read-rows.js';
import type { ReadRecord, RecordBlocks } from './row.js';
import { readOnceAmong } from './source.js';

/** How many records of a file are looked at. The first alone may lack what the others have. */
const LOOKED_AT = 100;

/** The most files that stay open between the look and the reading. */
const LEFT_OPEN = 32;

/** A file whose first records were looked at. */
interface Begun {
  readonly head: readonly ReadRecord[][];
  readonly rest: RecordBlocks;
}

/**
 * Looks at the first records of files before they are read. The reading then goes on where the look ended: a file is opened
 * once, and a pipe can be looked into as well.
 */
export class FileHeads {
  readonly #begun = new Map<string, Begun>();

  /** The first records of a file. @throws GradCacheError `INPUT` for a file that cannot be read */
  async look(file: string, how: RecordOptions): Promise<ReadRecord[]> {
    const known = this.#begun.get(file);
    if (known !== undefined) return known.head.flat().slice(0, LOOKED_AT);
    const rest = openRecords(file, how);
    const head: ReadRecord[][] = [];
    for (let count = 0; count < LOOKED_AT; count += head.at(-1)!.length) {
      const next = await rest.next();
      if (next.done) break;
      head.push(next.value);
    }
    // A Parquet file is read anew: then no more is decoded than the columns that are needed.
    const parquet = (how.format ?? formatTold(file)) === 'parquet';
    if (isPipe(file) || (!parquet && this.#begun.size < LEFT_OPEN)) this.#begun.set(file, { head, rest });
    else await rest.return();
    return head.flat().slice(0, LOOKED_AT);
  }

  /** {@link openRecords}, which goes on where the look at the file ended, the first time that the file is opened. */
  async *open(file: string, options: RecordOptions = {}): RecordBlocks {
    const begun = this.#begun.get(file);
    this.#begun.delete(file);
    try {
      // A column that is not there is refused by its file's header, where it has one.
      const { columns = [] } = options;
      if (begun === undefined || (!isPipe(file) && !hasAll(begun.head.flat(), columns))) {
        yield* openRecords(file, options);
        return;
      }
      yield* begun.head;
      yield* begun.rest;
    } finally {
      await begun?.rest.return();
    }
  }

  /** Closes the files that were looked at and not read. */
  async close(): Promise<void> {
    for (const { rest } of this.#begun.values()) await rest.return();
    this.#begun.clear();
  }
}

/** The columns of a record and what is in them; none for one that cannot be read. */
export function entriesOf(record: ReadRecord): [string, unknown][] {
  if ('problem' in record) return [];
  const { values } = record;
  if (!Array.isArray(values)) return Object.entries(values);
  return namesOfList(values).map((name, place) => [name, (values as readonly unknown[])[place]]);
}

function hasAll(records: readonly ReadRecord[], columns: readonly string[]): boolean {
  const names = new Set(records.flatMap((record) => entriesOf(record).map(([name]) => name)));
  return columns.every((column) => names.has(column));
}

function isPipe(file: string): boolean {
  return readOnceAmong([file]) !== undefined;
}
