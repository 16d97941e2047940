import { checkKnown } from '../options/known-options.js';
import { requireCount, requireFunction, requireIterable } from '../options/option-values.js';

/**
 * Maps items one or more ahead of the consumer: while a loop works on one result, `map` is already at the next ones.
 * Results come in the order of the items. An error of the source or of `map` is thrown where its result would have come,
 * after all results before it. A loop that ends early closes the source, once calls of `map` under way have finished.
 *
 * @param map called for items in order; with `ahead` above 1, before its earlier calls have finished
 * @param options.ahead how many results are prepared beyond the one in use, from 1. Default: 1.
 * @throws GradCacheError `INPUT`, at once, for an `ahead` below 1, and for what is no iterable or function.
 * @example
 * ```ts
 * const pairs = readPairs('pairs.jsonl', { columns: ['anchor', 'positive'] });
 * const tokenized = prefetch(batches(pairs, { size: 4096 }), async ({ columns }) =>
 *   Promise.all([model.tokenize(columns.anchor), model.tokenize(columns.positive)]),
 * );
 * for await (const inputs of tokenized) await gradcache.step(inputs); // the next batch is read meanwhile
 * ```
 */
export function prefetch<T, U>(
  source: AsyncIterable<T> | Iterable<T>,
  map: (item: T, index: number) => U | Promise<U>,
  options: { ahead?: number } = {},
): AsyncGenerator<Awaited<U>, void, undefined> {
  requireIterable('source', source);
  requireFunction('map', map);
  checkKnown('prefetch', options, ['ahead']);
  const { ahead = 1 } = options;
  requireCount('ahead', ahead, 1);
  return generateAhead(source, map, ahead);
}

async function* generateAhead<T, U>(
  source: AsyncIterable<T> | Iterable<T>,
  map: (item: T, index: number) => U | Promise<U>,
  ahead: number,
): AsyncGenerator<Awaited<U>, void, undefined> {
  const iterator =
    typeof source === 'object' && Symbol.asyncIterator in source
      ? source[Symbol.asyncIterator]()
      : source[Symbol.iterator]();
  /** Results that are not in use yet, begun one after the other: not every iterator takes a second next() beside the first. */
  const queue: Promise<{ value: Awaited<U> } | undefined>[] = [];
  let started = 0;
  let asking = false;
  let ended = false;
  /** The results that may be in the queue: one more than `ahead` while the consumer waits for the first of them. */
  let most = ahead + 1;

  /** The next item of the source; none once it has ended. */
  const ask = async (): Promise<{ value: T } | undefined> => {
    asking = true;
    try {
      const result = await iterator.next();
      ended ||= result.done === true;
      return ended ? undefined : { value: result.value as T };
    } catch (error) {
      ended = true;
      throw error;
    } finally {
      asking = false;
    }
  };

  /** Begins one result. Its item, once found, begins the next one: a huge `ahead` takes no more than there are items. */
  const begin = (): void => {
    if (asking || ended || queue.length >= most) return;
    const index = started++;
    const mapped = ask().then(async (found) => {
      if (found === undefined) return undefined;
      begin();
      return { value: await map(found.value, index) };
    });
    mapped.catch(() => undefined); // thrown when its turn comes
    queue.push(mapped);
  };

  try {
    for (;;) {
      most = ahead + 1;
      begin();
      const result = await queue[0]!;
      void queue.shift();
      if (result === undefined) return;
      most = ahead;
      yield result.value;
    }
  } finally {
    const sourceEnded = ended;
    ended = true;
    await Promise.allSettled(queue);
    if (!sourceEnded) await iterator.return?.();
  }
}
