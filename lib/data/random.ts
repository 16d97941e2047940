import { refused } from '../options/option-values.js';

/**
 * A small seeded generator of random numbers (xoshiro128**, Blackman and Vigna 2018): the same seed and stream give the
 * same numbers on every machine. It is meant for shuffling, not for secrets.
 */
export class Random {
  readonly #state = new Uint32Array(4);

  /**
   * @param seed a whole number from 0 to 2^53 - 1
   * @param stream numbers of different streams of one seed are independent; e.g. the epoch
   * @throws GradCacheError `INPUT` for a seed or stream out of range.
   */
  constructor(seed: number, stream = 0) {
    for (const [name, value] of Object.entries({ seed, stream })) {
      if (!Number.isSafeInteger(value) || value < 0)
        throw refused(name, value, 'a whole number from 0 to 2^53 - 1');
    }
    // Every word of seed and stream goes through a mixer, so that seeds 1 and 2 have nothing in common.
    let mixed = 0;
    for (const word of [seed, seed / 2 ** 32, stream, stream / 2 ** 32]) mixed = mix(mixed ^ (word >>> 0));
    for (let i = 0; i < 4; i++) this.#state[i] = mixed = mix(mixed);
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1;
  }

  /** The next 32 random bits, as a number from 0 to 2^32 - 1. */
  next(): number {
    const state = this.#state;
    const [s0, s1, s2, s3] = state as unknown as [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(s1, 5), 7), 9) >>> 0;
    const t2 = s2 ^ s0;
    const t3 = s3 ^ s1;
    state[1] = s1 ^ t2;
    state[0] = s0 ^ t3;
    state[2] = t2 ^ (s1 << 9);
    state[3] = rotate(t3, 11);
    return result;
  }

  /** A number from 0 to 1, 1 excluded, with 53 random bits. */
  uniform(): number {
    return ((this.next() >>> 5) * 2 ** 26 + (this.next() >>> 6)) / 2 ** 53;
  }

  /** A whole number from 0 to `limit - 1`, each equally likely; `limit` from 1 to 2^32. */
  below(limit: number): number {
    // Numbers past the last whole multiple of the limit would favour small results.
    const fair = 2 ** 32 - (2 ** 32 % limit);
    let bits = this.next();
    while (bits >= fair) bits = this.next();
    return bits % limit;
  }

  /** Brings the items into random order, in place (Fisher and Yates). */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}

/** One step of splitmix32: neighbouring inputs give unrelated outputs. */
function mix(value: number): number {
  let word = (value + 0x9e3779b9) | 0;
  word = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
  word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
  return (word ^ (word >>> 15)) >>> 0;
}
