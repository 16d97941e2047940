import { checkKnown } from '../known-options.js';
import { requireCount, requireFunction, requireIterable } from '../option-values.js';

/**
 * Maps items one or more ahead of the consumer: while a loop works on one result, `map` is already at the next ones.
 * Results come in the order of the items. An error of the source or of `map` is thrown where its result would have come,
 * after all results before it. A loop that ends early closes the source, once calls of `map` under way have finished.
 *
 * @param map called for items in order; with `ahead` above 1, before its earlier calls have finished
 * @param options.ahead how many results are prepared beyond the one in use, from 1. Default: 1.
 * @throws GradCacheError `INPUT`, at once, for an `ahead` below 1, and for what is no iterable or function.
 */
export function prefetch<T, U>(
  source: AsyncIterable<T> | Iterable<T>,
  map: (item: T, index: number) => U | Promise<U>,
  options: { ahead?: number } = {},
): AsyncGenerator<Awaited<U>, void, undefined> {
  requireIterable('source', source);
  requireFunction('map', map);
  checkKnown('prefetch', options, ['ahead']);
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
  const queue: Promise<{ value: Awaited<U> } | undefined>[] = [];
  let previous: Promise<unknown> = Promise.resolve();
  let started = 0;
  let ended = false;

  const start = () => {
    const index = started++;
    // One item after the other: not every iterator takes a second next() while the first is pending.
    const item = previous.then(async () => {
      if (ended) return undefined;
      try {
        const result = await iterator.next();
        ended ||= result.done === true;
        return result.done ? undefined : { value: result.value };
      } catch (error) {
        ended = true;
        throw error;
      }
    });
    previous = item.catch(() => undefined);
    const mapped = item.then(async (found) => (found ? { value: await map(found.value, index) } : undefined));
    mapped.catch(() => undefined); // thrown when its turn comes
    queue.push(mapped);
  };

  try {
    for (let i = 0; i < ahead; i++) start();
    for (;;) {
      start();
      const result = await queue.shift()!;
      if (result === undefined) return;
      yield result.value;
    }
  } finally {
    const sourceEnded = ended;
    ended = true;
    await Promise.allSettled(queue);
    if (!sourceEnded) await iterator.return?.();
  }
}
