import { GradCacheError } from '../errors.js';

/** Token ids of several texts, end to end, without padding. */
export interface TokenBatch {
  /** The ids of all texts, one text after the other. */
  readonly ids: Int32Array;
  /** Text `i` has the ids from `offsets[i]` to `offsets[i + 1]`, the latter excluded; n + 1 numbers for n texts. */
  readonly offsets: Int32Array;
  /** How many texts were cut to `maxLength`. */
  readonly truncated: number;
}

/** What is read of an encoding; the types of the package tokenizers do not compile under strict settings of a user. */
interface Encoded {
  getIds(): number[];
  getOverflowing(): readonly unknown[];
}

/** Gathers encodings, in the order of the texts, into one flat list of ids. */
export class TokenCollector {
  readonly #offsets: Int32Array;
  #ids = new Int32Array(1024);
  #count = 0;
  #truncated = 0;

  constructor(
    readonly texts: readonly string[],
    readonly maxLength: number,
    readonly truncationSide: 'left' | 'right',
  ) {
    this.#offsets = new Int32Array(texts.length + 1);
  }

  add(encoding: Encoded): void {
    let ids = encoding.getIds();
    if (ids.length > this.maxLength) {
      ids = this.truncationSide === 'right' ? ids.slice(0, this.maxLength) : ids.slice(-this.maxLength);
      this.#truncated++;
    } else if (ids.length === this.maxLength && encoding.getOverflowing().length > 0) {
      // Only a text that fills maxLength can have been cut; asking each would copy what was cut off.
      this.#truncated++;
    }
    const begin = this.#offsets[this.#count]!;
    if (ids.length === 0) {
      const text = JSON.stringify(this.texts[this.#count]!.slice(0, 60));
      throw new GradCacheError('INPUT', `Text ${this.#count} (${text}) has no tokens; leave such texts out.`);
    }
    const end = begin + ids.length;
    if (end > 0x7fffffff) {
      throw new GradCacheError(
        'INPUT',
        `Text ${this.#count} brings the batch past 2147483647 tokens; use smaller batches.`,
      );
    }
    if (end > this.#ids.length) {
      const grown = new Int32Array(Math.max(end, Math.min(this.#ids.length * 2, 0x7fffffff)));
      grown.set(this.#ids.subarray(0, begin));
      this.#ids = grown;
    }
    this.#ids.set(ids, begin);
    this.#offsets[++this.#count] = end;
  }

  finish(): TokenBatch {
    const ids = this.#ids.slice(0, this.#offsets[this.#count]);
    return { ids, offsets: this.#offsets, truncated: this.#truncated };
  }
}
