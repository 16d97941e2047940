import type { Room } from './room.js';
import type { Row } from './row.js';
import { textsIn } from './text-lists.js';

/** Rows that wait, oldest first. Taking from the front of a plain array would move all the rest. */
interface Queue {
  readonly rows: Row[];
  next: number;
}

/**
 * Fills batches with rows as they come, or with rows of which no two share a text, in whatever column. A row that shares one
 * with the batch then waits for a later batch. Each waits under one text that stands in its way, so that starting a batch
 * looks at one row for each of these texts and not at every row that waits.
 */
export class FillingBatch {
  readonly #waiting = new Map<string, Queue>();
  #rows: Row[] = [];
  #texts = new Set<string>();

  constructor(
    readonly room: Room,
    readonly uniqueTexts: boolean,
    /** Columns that have a list of texts in each row, as JSON. */
    readonly lists: readonly string[] = [],
  ) {}

  get full(): boolean {
    return this.room.full;
  }

  get empty(): boolean {
    return this.#rows.length === 0;
  }

  /** Puts the row in the batch, or lets it wait. The batch must not be full. */
  offer(row: Row): void {
    const obstacle = this.#obstacle(row);
    if (obstacle === undefined) this.#place(row);
    else this.#defer(row, obstacle);
  }

  /** Returns the batch and begins the next one with rows that have waited. */
  take(): Row[] {
    const rows = this.#rows;
    this.#rows = [];
    this.#texts = new Set();
    this.room.next();
    for (const [text, queue] of this.#waiting) {
      if (this.full) break;
      while (!this.#texts.has(text) && queue.next < queue.rows.length) this.offer(queue.rows[queue.next++]!);
      if (queue.next === queue.rows.length) this.#waiting.delete(text);
    }
    return rows;
  }

  #obstacle(row: Row): string | undefined {
    if (this.lists.length > 0) return this.#textsOf(row).find((text) => this.#texts.has(text));
    for (const column in row) if (this.#texts.has(row[column]!)) return row[column];
    return undefined;
  }

  #place(row: Row): void {
    this.#rows.push(row);
    this.room.add(row);
    if (!this.uniqueTexts) return;
    if (this.lists.length > 0) for (const text of this.#textsOf(row)) this.#texts.add(text);
    else for (const column in row) this.#texts.add(row[column]!);
  }

  #textsOf(row: Row): string[] {
    return Object.entries(row).flatMap(([column, text]) =>
      this.lists.includes(column) ? textsIn(text) : [text],
    );
  }

  #defer(row: Row, obstacle: string): void {
    const queue = this.#waiting.get(obstacle);
    if (queue === undefined) this.#waiting.set(obstacle, { rows: [row], next: 0 });
    else queue.rows.push(row);
  }
}
