import type { GradCacheError } from '../errors.js';
import { problemOf } from '../options/option-values.js';
import { pairShares } from './pair-truncation.js';
import { textRefused } from './text-refusal.js';
import { TokenCollector, type TextPair, type TokenBatch } from './token-batch.js';

/** Texts, or pairs, whose tokens past a length are in further rows instead of being cut off. */
export interface WindowBatch {
  /** Text after text, the windows of each in their order. */
  readonly batch: TokenBatch;
  /** How many windows each text has. */
  readonly counts: Int32Array;
}

/** Some of the windows of texts. Those of one text can lie in several pieces. */
export interface WindowPiece {
  readonly batch: TokenBatch;
  /** For each row the number of the text that it is a window of. */
  readonly texts: Int32Array;
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
  /** The end of a first text at which it is cut. */
  readonly side: 'left' | 'right';
}

/** Tokens of a text: those from `begin` to `end` are shared out over its windows, in `room` of each; of the others all that are `kept` are in each. */
interface Shares {
  readonly begin: number;
  readonly end: number;
  readonly room: number;
  /** Absent: all are. */
  readonly kept?: (token: number) => boolean;
}

/**
 * Gathers encodings of whole texts as windows. Each has the special tokens of a text of its own and the tokens of the prefix; of a
 * pair each has the first text, which is cut as {@link cutPair} cuts it.
 */
export class WindowCollector {
  readonly #texts: readonly (string | TextPair)[];
  readonly #settings: WindowSettings;
  readonly #most: number;
  #rows: TokenCollector;
  #numbers: number[] = [];

  /** @param most the least tokens of a piece that is not the last; it can have as many more as a window has */
  constructor(texts: readonly (string | TextPair)[], settings: WindowSettings, most: number) {
    this.#texts = texts;
    this.#settings = settings;
    this.#most = most;
    this.#rows = this.#empty();
  }

  /** Adds a text, or two of them, at its full length, and gives the pieces that become full. */
  *add(encoding: Encoded, text: number): Generator<WindowPiece, void, undefined> {
    const ids = encoding.getIds();
    const types = this.#settings.typed ? encoding.getTypeIds() : null;
    if (ids.length <= this.#settings.maxLength) {
      this.#rows.append(ids, types, text);
      return yield* this.#added(text);
    }
    const { begin, end, room, kept } =
      typeof this.#texts[text] === 'string'
        ? this.#sharesOfText(encoding, ids.length, text)
        : this.#sharesOfPair(encoding);
    const isKept = (offset: number) => kept && ((_: number, place: number) => kept(offset + place));
    const cut = (all: readonly number[], from: number, to: number): number[] => {
      const [before, behind] = [all.slice(0, begin), all.slice(end)];
      return [
        ...(kept ? before.filter(isKept(0)!) : before),
        ...all.slice(from, to),
        ...(kept ? behind.filter(isKept(end)!) : behind),
      ];
    };
    if (kept) this.#rows.countTruncated();
    const { overlap } = this.#settings;
    let from = begin;
    do {
      const to = Math.min(from + room, end);
      this.#rows.append(cut(ids, from, to), types && cut(types, from, to), text);
      yield* this.#added(text);
      from += room - overlap;
    } while (from + overlap < end);
  }

  /** The windows that have been given in no piece yet. */
  rest(): WindowPiece {
    const piece = { batch: this.#rows.finish(), texts: Int32Array.from(this.#numbers) };
    this.#rows = this.#empty();
    this.#numbers = [];
    return piece;
  }

  #empty(): TokenCollector {
    return new TokenCollector(
      this.#texts,
      this.#settings.maxLength,
      this.#settings.side,
      this.#settings.typed,
    );
  }

  *#added(text: number): Generator<WindowPiece, void, undefined> {
    this.#numbers.push(text);
    if (this.#rows.tokens >= this.#most) yield this.rest();
  }

  #sharesOfText(encoding: Encoded, length: number, text: number): Shares {
    const special = encoding.getSpecialTokensMask();
    const first = special.indexOf(0);
    const begin = first + this.#prefixTokens(encoding, first);
    const end = Math.max(begin, special.lastIndexOf(0) + 1);
    const others = length - (end - begin);
    const room = this.#settings.maxLength - others;
    if (room <= this.#settings.overlap) throw this.#noRoom(text, others);
    return { begin, end, room };
  }

  /** What is cut of the first text is cut without windows too. */
  #sharesOfPair(encoding: Encoded): Shares {
    const texts = encoding.getSequenceIds();
    const { lengths, left } = pairShares(texts, this.#settings.maxLength);
    // All tokens of a text stand together.
    const [first, second] = [texts.indexOf(0), texts.indexOf(1)];
    const begin = second < 0 ? texts.length : second;
    const shares = { begin, end: second < 0 ? begin : second + lengths[1], room: left[1] };
    if (left[0] === lengths[0]) return shares;
    const from = this.#settings.side === 'right' ? first + left[0] : first;
    const to = from + lengths[0] - left[0];
    return { ...shares, kept: (token) => token < from || token >= to };
  }

  #prefixTokens(encoding: Encoded, first: number): number {
    const characters = Array.from(this.#settings.prefix).length;
    if (characters === 0) return 0;
    const inPrefix = encoding.getOffsets().findIndex(([, end], token) => token >= first && end! > characters);
    return (inPrefix < 0 ? encoding.getIds().length : inPrefix) - first;
  }

  #noRoom(index: number, others: number): GradCacheError {
    const { maxLength, overlap } = this.#settings;
    const smaller = overlap > 0 ? ', or take a smaller overlap' : '';
    return textRefused({
      code: 'INPUT',
      index,
      text: this.#texts[index]!,
      problem:
        `leaves no room in windows of ${maxLength} tokens: ${others} of the prompt and special ones are in each of them, and ` +
        `${overlap} are repeated. Shorten the prompt${smaller}.`,
    });
  }
}

/** What there is to a text, or to a pair of them. */
interface WindowKind {
  readonly paired: boolean;
  /** Special tokens of one. */
  readonly special: number;
}

/** What is wrong with an overlap, whatever the texts are: that it leaves a window nothing of its own. */
export function overlapProblem(
  overlap: number,
  maxLength: number,
  { paired, special }: WindowKind,
): string | undefined {
  const others = maxLength - special;
  const room = paired ? Math.floor(others / 2) : others;
  if (overlap === 0 || overlap < room) return undefined;
  const window = `a window has ${maxLength} tokens, ${special} special`;
  const half = paired ? ', and a first text can have half of the others' : '';
  return problemOf(overlap, `less than ${room} (${window}${half})`);
}

/** All windows of texts at once. @param count how many texts there are */
export function joinedPieces(pieces: readonly WindowPiece[], count: number): WindowBatch {
  const counts = new Int32Array(count);
  for (const { texts } of pieces) for (const text of texts) counts[text]!++;
  const rows = pieces.reduce((sum, { texts }) => sum + texts.length, 0);
  const offsets = new Int32Array(rows + 1);
  const tokens = pieces.reduce((sum, { batch }) => sum + batch.ids.length, 0);
  const ids = new Int32Array(tokens);
  const types = pieces[0]?.batch.types && new Int32Array(tokens);
  let [row, token, truncated] = [0, 0, 0];
  for (const { batch } of pieces) {
    ids.set(batch.ids, token);
    types?.set(batch.types!, token);
    for (let place = 1; place < batch.offsets.length; place++) offsets[++row] = token + batch.offsets[place]!;
    token += batch.ids.length;
    truncated += batch.truncated;
  }
  return { batch: { ids, offsets, truncated, ...(types && { types }) }, counts };
}
