import { GradCacheError } from '../errors.js';
import { cutPair } from './pair-truncation.js';
import { textRefused } from './text-refusal.js';

/** Token ids of several texts, end to end, without padding. */
export interface TokenBatch {
  /** The ids of all texts, one text after the other. */
  readonly ids: Int32Array;
  /** Text `i` has the ids from `offsets[i]` to `offsets[i + 1]`, the latter excluded; n + 1 numbers for n texts. */
  readonly offsets: Int32Array;
  /** How many texts were cut to `maxLength`. */
  readonly truncated: number;
  /** The type of each token, where a model is to tell the two texts of a pair apart; absent: all have type 0. */
  readonly types?: Int32Array;
  /**
   * 1 for each id that gets a representation, 0 for one that gets none, such as punctuation. For models with a
   * representation for each token alone. Absent: all get one.
   */
  readonly counted?: Uint8Array;
  /**
   * So many tokens at the beginning of each text are not pooled: those of a prompt, where the model leaves them out
   * (`include_prompt` of sentence-transformers). Absent: none.
   */
  readonly skipped?: number;
  /**
   * For each text how many tokens at its end no token attends to, themselves included: those of a query's expansion, where
   * the model leaves them out. They have representations all the same. Absent: none.
   */
  readonly unattended?: Int32Array;
}

/** Two texts that are encoded together, such as a query and a document. */
export type TextPair = readonly [string, string];

/** What is read of an encoding; the types of the package tokenizers do not compile under strict settings of a user. */
interface Encoded {
  getIds(): number[];
  getTypeIds(): number[];
  getSequenceIds(): (number | null | undefined)[];
  getOverflowing(): readonly unknown[];
}

/** Gathers encodings, in the order of the texts, into one flat list of ids. */
export class TokenCollector {
  #offsets: Int32Array;
  #ids: Int32Array = new Int32Array(1024);
  #types: Int32Array | null;
  #count = 0;
  #truncated = 0;

  /** @param typed whether the types of tokens are gathered too */
  constructor(
    readonly texts: readonly (string | TextPair)[],
    readonly maxLength: number,
    readonly truncationSide: 'left' | 'right',
    typed = false,
  ) {
    this.#offsets = new Int32Array(texts.length + 1);
    this.#types = typed ? new Int32Array(1024) : null;
  }

  /** Adds two texts that were encoded together, at their full length. */
  addPair(encoding: Encoded): void {
    let ids = encoding.getIds();
    let types = this.#types === null ? null : encoding.getTypeIds();
    if (ids.length > this.maxLength) {
      const cut = cutPair(encoding, this.maxLength, this.truncationSide);
      ids = cut.ids;
      types &&= cut.types;
      this.#truncated++;
    }
    this.append(ids, types);
  }

  /** Adds a text, which the native tokenizer has cut. */
  add(encoding: Encoded): void {
    let ids = encoding.getIds();
    if (ids.length > this.maxLength) {
      ids = this.truncationSide === 'right' ? ids.slice(0, this.maxLength) : ids.slice(-this.maxLength);
      this.#truncated++;
    } else if (ids.length === this.maxLength && encoding.getOverflowing().length > 0) {
      // Only a text that fills maxLength can have been cut; asking each would copy what was cut off.
      this.#truncated++;
    }
    this.append(ids, null);
  }

  /** Tokens of all rows. */
  get tokens(): number {
    return this.#offsets[this.#count]!;
  }

  /** Counts a text that was cut. */
  countTruncated(): void {
    this.#truncated++;
  }

  /** Adds a row. @param text the number of the text that it is of */
  append(ids: readonly number[], types: readonly number[] | null, text = this.#count): void {
    const begin = this.#offsets[this.#count]!;
    if (ids.length === 0)
      throw textRefused({
        code: 'INPUT',
        index: text,
        text: this.texts[text]!,
        problem: 'has no tokens; leave such texts out.',
      });
    const end = begin + ids.length;
    if (end > 0x7fffffff) {
      throw new GradCacheError(
        'INPUT',
        `Text ${text} brings the batch past 2147483647 tokens; use smaller batches.`,
      );
    }
    this.#ids = withRoom(this.#ids, begin, end);
    this.#ids.set(ids, begin);
    if (this.#types !== null && types !== null) {
      this.#types = withRoom(this.#types, begin, end);
      this.#types.set(types, begin);
    }
    this.#offsets = withRoom(this.#offsets, this.#count + 1, this.#count + 2);
    this.#offsets[++this.#count] = end;
  }

  finish(): TokenBatch {
    const ids = this.#ids.slice(0, this.#offsets[this.#count]);
    const types = this.#types?.slice(0, ids.length);
    const offsets = this.#offsets.slice(0, this.#count + 1);
    return { ids, offsets, truncated: this.#truncated, ...(types && { types }) };
  }
}

/** The list, or a longer one with its first `count` numbers. */
function withRoom(list: Int32Array, count: number, needed: number): Int32Array {
  if (needed <= list.length) return list;
  const grown = new Int32Array(Math.max(needed, Math.min(list.length * 2, 0x7fffffff)));
  grown.set(list.subarray(0, count));
  return grown;
}

/** The batch without the tokens of one kind that texts end with. The first token of a text stays. */
export function withoutLast({ ids, offsets, truncated }: TokenBatch, token: number): TokenBatch {
  const kept = new Int32Array(offsets.length);
  const shorter = new Int32Array(ids.length);
  for (let row = 0; row + 1 < offsets.length; row++) {
    const begin = offsets[row]!;
    let end = offsets[row + 1]!;
    while (end > begin + 1 && ids[end - 1] === token) end--;
    shorter.set(ids.subarray(begin, end), kept[row]);
    kept[row + 1] = kept[row]! + end - begin;
  }
  return { ids: shorter.slice(0, kept.at(-1)), offsets: kept, truncated };
}
