/*
 * A corpus as streams of tokens, one for each row of a batch. A row reads its own part of the corpus in order, segment by
 * segment. Where a document ends, the rest of the row's segment stays empty and the next segment begins with the next document,
 * whose state starts anew.
 */
import { GradCacheError } from '../errors.js';
import { Random } from '../data/random.js';
import type { Corpus } from './corpus.js';
import type { Segment } from './segment-model.js';

/** How long segments are. */
export interface SegmentLengths {
  /** Tokens of a row. */
  readonly length: number;
  /**
   * Lengths are drawn anew for each segment (Merity et al. 2018): around `length`, or in one of twenty around half of it, with
   * a deviation of 5 tokens. Otherwise all are `length`.
   */
  readonly jitter: boolean;
}

/** The shortest segment that jitter makes. */
const SHORTEST = 5;
const DEVIATION = 5;

/** The lengths of an epoch's segments, one after the other. */
export function* lengthsOf(
  { length, jitter }: SegmentLengths,
  seed: number,
  epoch: number,
): Generator<number> {
  const random = new Random(seed, epoch);
  for (;;) {
    if (!jitter) {
      yield length;
      continue;
    }
    const around = random.uniform() < 0.95 ? length : length / 2;
    yield Math.max(Math.min(SHORTEST, length), Math.trunc(around + DEVIATION * normal(random)));
  }
}

/** A normal number with mean 0 and deviation 1 (Box and Muller 1958). */
function normal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.uniform()));
  return radius * Math.cos(2 * Math.PI * random.uniform());
}

/** What one row reads in a segment. */
interface Piece {
  readonly from: number;
  /** Tokens, each with the one behind it as its target. */
  readonly count: number;
  readonly ends: boolean;
}

/** Reads a corpus once. */
export class RowStreams {
  readonly #corpus: Corpus;
  readonly #rows: { readonly place: number; readonly end: number }[];

  /** @throws GradCacheError `INPUT` for a corpus of fewer tokens than every row needs, or of no token with one behind it */
  constructor(corpus: Corpus, rows: number) {
    const { length } = corpus.tokens;
    if (length < 2 * rows)
      throw new GradCacheError(
        'INPUT',
        `the text has ${length} tokens, too few for ${rows} rows: give fewer rows, or more text`,
      );
    this.#corpus = corpus;
    const cut = (row: number) => Math.floor((row * length) / rows);
    this.#rows = Array.from({ length: rows }, (_, row) => ({ place: cut(row), end: cut(row + 1) }));
    if (this.#rows.every(({ place, end }) => this.#piece(place, end, 1).count === 0))
      throw new GradCacheError(
        'INPUT',
        'no document of the text has two tokens: there is nothing to predict',
      );
  }

  /** Reads a segment of at most so many tokens; null at the end of the corpus. */
  next(most: number): Segment | null {
    const pieces = this.#advance(most);
    const length = Math.max(...pieces.map(({ count }) => count));
    if (length === 0) return null;
    const rows = pieces.length;
    const { tokens } = this.#corpus;
    const inputs = new Int32Array(rows * length);
    const targets = new Int32Array(rows * length).fill(-1);
    pieces.forEach(({ from, count }, row) => {
      inputs.set(tokens.subarray(from, from + count), row * length);
      targets.set(tokens.subarray(from + 1, from + 1 + count), row * length);
    });
    return { rows, inputs, targets, ends: pieces.flatMap(({ ends }, row) => (ends ? row : [])) };
  }

  /** Goes on as {@link next} does, without the tokens. False at the end of the corpus. */
  skip(most: number): boolean {
    return this.#advance(most).some(({ count }) => count > 0);
  }

  #advance(most: number): Piece[] {
    return this.#rows.map(({ place, end }, row) => {
      const piece = this.#piece(place, end, most);
      const over = piece.from + piece.count;
      // The last token of a document has nothing behind it.
      this.#rows[row] = { place: piece.ends ? over + 1 : over, end };
      return piece;
    });
  }

  #piece(place: number, end: number, most: number): Piece {
    for (let from = place; ;) {
      const to = Math.min(end, this.#documentEnd(from));
      const count = Math.min(most, to - 1 - from);
      if (count > 0) return { from, count, ends: from + count === to - 1 };
      if (to >= end) return { from: Math.min(from, end), count: 0, ends: true };
      from = to; // a document of one token
    }
  }

  /** Where the document of a token ends. */
  #documentEnd(place: number): number {
    const { ends, tokens } = this.#corpus;
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle]! > place) high = middle;
      else low = middle + 1;
    }
    return ends[low] ?? tokens.length;
  }
}
