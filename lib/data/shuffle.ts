import { checkKnown } from '../options/known-options.js';
import { requireCount, requireIterable } from '../options/option-values.js';
import { Random } from './random.js';

/** How {@link shuffle} orders. */
export interface ShuffleOptions {
  /** A whole number from 0; the same seed and epoch give the same order. Default: 0. */
  seed?: number;
  /** A different order for each. Default: 0. */
  epoch?: number;
  /**
   * How many items are held at a time: each place is filled from a random one of them, so memory is bounded and order is
   * random only within about this distance. Left out: all items are held, and every order is equally likely.
   */
  buffer?: number;
}

/**
 * Brings items into a random order that depends on nothing but the seed, the epoch and the items' own order.
 *
 * @returns an iterable that reads the source anew each time it is iterated
 * @throws GradCacheError `INPUT` for a buffer below 1 or a seed that is not a whole number from 0.
 * @example
 * ```ts
 * const pairs = readPairs('pairs.jsonl', { columns: ['anchor', 'positive'] });
 * for await (const { anchor } of shuffle(pairs, { seed: 1 })) console.log(anchor);
 * ```
 */
export function shuffle<T>(
  source: AsyncIterable<T> | Iterable<T>,
  options: ShuffleOptions = {},
): AsyncIterable<T> {
  requireIterable('source', source);
  checkKnown('shuffle', options, ['seed', 'epoch', 'buffer']);
  const { seed = 0, epoch = 0, buffer } = options;
  if (buffer !== undefined) requireCount('buffer', buffer, 1);
  void new Random(seed, epoch); // refuses a bad seed here, not at the first item
  return {
    [Symbol.asyncIterator]: () => {
      const random = new Random(seed, epoch);
      return buffer === undefined ? shuffleAll(source, random) : shuffleBuffered(source, random, buffer);
    },
  };
}

async function* shuffleAll<T>(
  source: AsyncIterable<T> | Iterable<T>,
  random: Random,
): AsyncGenerator<T, void, undefined> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  yield* random.shuffle(items);
}

async function* shuffleBuffered<T>(
  source: AsyncIterable<T> | Iterable<T>,
  random: Random,
  size: number,
): AsyncGenerator<T, void, undefined> {
  const held: T[] = [];
  for await (const item of source) {
    if (held.length < size) {
      held.push(item);
      continue;
    }
    const place = random.below(size);
    const next = held[place]!;
    held[place] = item;
    yield next;
  }
  yield* random.shuffle(held);
}
