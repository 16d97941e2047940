/**
 * What `start` makes of each item, in order: so many are begun before the first of them is awaited. A failure is reported when its
 * item is awaited, not before.
 */
export function* begunAhead<Item, Made>(
  items: readonly Item[],
  most: number,
  start: (item: Item) => Promise<Made>,
): Generator<Promise<Made>, void, undefined> {
  const begun: Promise<Made>[] = [];
  for (let next = 0, place = 0; place < items.length; place++) {
    for (; next < items.length && begun.length < most; next++) {
      const made = start(items[next]!);
      made.catch(() => undefined); // it is looked at in its turn
      begun.push(made);
    }
    yield begun.shift()!;
  }
}
