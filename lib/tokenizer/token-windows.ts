import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { TokenCollector, type TextPair, type TokenBatch } from './token-batch.js';

/** Texts, or pairs, whose tokens past a length are in further rows instead of being cut off. */
export interface WindowBatch {
  /** Text after text, the windows of each in their order. */
  readonly batch: TokenBatch;
  /** How many windows each text has. */
  readonly counts: Int32Array;
}

/** What is read of an encoding. */
interface Encoded {
  getIds(): number[];
  getTypeIds(): number[];
  getSequenceIds(): (number | null | undefined)[];
  getSpecialTokensMask(): number[];
  getOffsets(): number[][];
}

interface WindowSettings {
  /** The most tokens of a window, special ones included. */
  readonly maxLength: number;
  /** How many tokens of a text a window repeats of the one before it. */
  readonly overlap: number;
  /** Stands in front of every text, and of every window. */
  readonly prefix: string;
  readonly typed: boolean;
}

/**
 * Gathers encodings of whole texts as windows. Each has the special tokens of a text of its own and the tokens of the prefix; of a
 * pair each has the whole first text.
 */
export class WindowCollector {
  readonly #texts: readonly (string | TextPair)[];
  readonly #settings: WindowSettings;
  readonly #rows: TokenCollector;
  readonly #counts: number[] = [];

  constructor(texts: readonly (string | TextPair)[], settings: WindowSettings) {
    this.#texts = texts;
    this.#settings = settings;
    this.#rows = new TokenCollector(texts, settings.maxLength, 'right', settings.typed);
  }

  /** Adds a text at its full length. */
  add(encoding: Encoded): void {
    const ids = encoding.getIds();
    if (ids.length <= this.#settings.maxLength) return this.#appendWhole(encoding);
    const special = encoding.getSpecialTokensMask();
    const first = special.indexOf(0);
    const begin = first + this.#prefixTokens(encoding, first);
    this.#appendWindows(encoding, begin, special.lastIndexOf(0) + 1);
  }

  /** Adds two texts at their full length. */
  addPair(encoding: Encoded): void {
    const texts = encoding.getSequenceIds();
    if (texts.length <= this.#settings.maxLength) return this.#appendWhole(encoding);
    // All tokens of the second text stand together.
    const begin = texts.indexOf(1);
    this.#appendWindows(encoding, begin < 0 ? texts.length : begin, texts.lastIndexOf(1) + 1);
  }

  finish(): WindowBatch {
    return { batch: this.#rows.finish(), counts: Int32Array.from(this.#counts) };
  }

  #prefixTokens(encoding: Encoded, first: number): number {
    const characters = Array.from(this.#settings.prefix).length;
    if (characters === 0) return 0;
    const inPrefix = encoding.getOffsets().findIndex(([, end], token) => token >= first && end! > characters);
    return (inPrefix < 0 ? encoding.getIds().length : inPrefix) - first;
  }

  /** The tokens from `begin` to `end` are shared out; all others are in every window. */
  #appendWindows(encoding: Encoded, begin: number, end: number): void {
    const { maxLength, overlap } = this.#settings;
    const others = encoding.getIds().length - Math.max(0, end - begin);
    const room = maxLength - others;
    if (room <= overlap) {
      const text = this.#counts.length;
      throw new GradCacheError(
        'INPUT',
        `Text ${text} (${show(this.#texts[text])}) leaves no room in windows of ${maxLength} tokens: ${others} are in each of them, and ` +
          `${overlap} are repeated. ${overlap > 0 ? 'Shorten the query or the prompt, or take a smaller overlap' : 'Shorten the query or the prompt'}.`,
      );
    }
    const [ids, types] = this.#numbersOf(encoding);
    const { length } = this.#counts;
    let windows = 0;
    for (let from = begin; windows === 0 || from + overlap < end; from += room - overlap) {
      const to = Math.min(from + room, end);
      const cut = (all: readonly number[]): number[] => [
        ...all.slice(0, begin),
        ...all.slice(from, to),
        ...all.slice(Math.max(begin, end)),
      ];
      this.#rows.append(cut(ids), types && cut(types), length);
      windows++;
    }
    this.#counts.push(windows);
  }

  #appendWhole(encoding: Encoded): void {
    this.#rows.append(...this.#numbersOf(encoding), this.#counts.length);
    this.#counts.push(1);
  }

  #numbersOf(encoding: Encoded): [ids: number[], types: number[] | null] {
    return [encoding.getIds(), this.#settings.typed ? encoding.getTypeIds() : null];
  }
}
