/** What is made of an item, and may have to be freed. */
type Freed = { dispose(): void } | null;

/**
 * What `start` makes of each item, with the item, in order. While one is made, the next is started as soon as it comes; what is
 * ready does not wait for it. What is not taken is disposed.
 *
 * @param ahead whether to; else an item is started when the one before has been taken
 * @throws whatever the source or `start` throws
 */
export async function* oneAhead<Item, Made extends Freed>(
  source: AsyncIterable<Item>,
  start: (item: Item) => Promise<Made>,
  ahead: boolean,
): AsyncGenerator<readonly [Item, Made], void, undefined> {
  const items = source[Symbol.asyncIterator]();
  const started: { readonly item: Item; readonly made: Promise<Made> }[] = [];
  try {
    let coming = quiet(items.next());
    for (let ended = false; !ended || started.length > 0;) {
      const [oldest] = started;
      const full = started.length > (ahead ? 1 : 0);
      if (oldest !== undefined && (ended || full || (await isFirst(oldest.made, coming)))) {
        const made = await oldest.made;
        started.shift();
        yield [oldest.item, made];
        continue;
      }
      const next: IteratorResult<Item, unknown> = await coming;
      if (next.done === true) {
        ended = true;
        continue;
      }
      started.push({ item: next.value, made: quiet(start(next.value)) });
      coming = quiet(items.next());
    }
  } finally {
    // This is not awaited: an item may still be on its way.
    items.return?.(undefined).catch(() => undefined);
    for (const { made } of started)
      await made.then(
        (value) => value?.dispose(),
        () => undefined,
      );
  }
}

/** A promise that is looked at in its turn: until then, its failure is not reported as one that nobody handles. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** Whether a promise is settled before another. */
function isFirst(promise: Promise<unknown>, other: Promise<unknown>): Promise<boolean> {
  const settled = (which: boolean) => () => which;
  return Promise.race([
    promise.then(settled(true), settled(true)),
    other.then(settled(false), settled(false)),
  ]);
}
