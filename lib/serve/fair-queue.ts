/** What waits to be encoded. */
interface Weighed {
  readonly tokens: number;
  /** Things of different kinds cannot be in one batch. */
  readonly kind: number;
}

/** What waits for one request, in its order. */
class Line<Item extends Weighed> {
  readonly items: Item[] = [];
  first = 0;

  /** @param clock tokens that the line is taken to have had; the line with the fewest comes next */
  constructor(public clock: number) {}

  get next(): Item | undefined {
    return this.items[this.first];
  }
}

/**
 * Texts of many requests that wait to be encoded. Requests take turns by tokens: the next text is one of the request that has
 * had the fewest since it came, so that a short request is not held up by long ones that came before it, and none waits for
 * ever.
 */
export class FairQueue<Key, Item extends Weighed> {
  readonly #lines = new Map<Key, Line<Item>>();
  #clock = 0;
  #length = 0;
  #tokens = 0;

  /** Things that wait. */
  get length(): number {
    return this.#length;
  }

  /** Tokens that wait. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Puts something at the end of a request's line. */
  add(request: Key, item: Item): void {
    let line = this.#lines.get(request);
    // Whoever comes later has had nothing yet, but is not owed what others had before.
    if (line === undefined) this.#lines.set(request, (line = new Line(this.#clock)));
    else if (line.next === undefined) line.clock = Math.max(line.clock, this.#clock);
    line.items.push(item);
    this.#length++;
    this.#tokens += item.tokens;
  }

  /** Takes a request out, with all that waits for it; gives how many things that were. */
  remove(request: Key): number {
    const line = this.#lines.get(request);
    if (line === undefined) return 0;
    this.#lines.delete(request);
    const left = line.items.slice(line.first);
    this.#length -= left.length;
    for (const { tokens } of left) this.#tokens -= tokens;
    return left.length;
  }

  /**
   * Takes out the next batch: at most so many tokens, all of one kind. A longer text is a batch of its own.
   *
   * @returns nothing where nothing waits
   */
  take(most: number): Item[] {
    const batch: Item[] = [];
    const passed = new Set<Line<Item>>();
    let left = most;
    while (left > 0) {
      const line = this.#earliest(passed);
      const item = line?.next;
      if (line === undefined || item === undefined) break;
      if (batch.length > 0 && (item.tokens > left || item.kind !== batch[0]!.kind)) {
        passed.add(line); // it is the first of a batch soon: its clock stands still
        continue;
      }
      this.#clock = Math.max(this.#clock, line.clock);
      line.clock += item.tokens;
      line.first++;
      left -= item.tokens;
      this.#length--;
      this.#tokens -= item.tokens;
      batch.push(item);
    }
    return batch;
  }

  #earliest(passed: ReadonlySet<Line<Item>>): Line<Item> | undefined {
    let earliest: Line<Item> | undefined;
    for (const line of this.#lines.values())
      if (
        line.next !== undefined &&
        !passed.has(line) &&
        (earliest === undefined || line.clock < earliest.clock)
      )
        earliest = line;
    return earliest;
  }
}
