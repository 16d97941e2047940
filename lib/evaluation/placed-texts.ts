import { DistinctTexts } from './distinct-texts.js';
import type { Ranking } from './exact-search.js';

/**
 * Texts of which some are there several times. Each is encoded and searched once, so that its copies score the same, and
 * a ranking of the different texts is turned into one of all places.
 */
export class PlacedTexts {
  /** The different texts. */
  readonly list: readonly string[];
  /** For each different text the first place where it stands. */
  readonly #first: Int32Array;
  /** For each place the next one with the same text, or -1. */
  readonly #next: Int32Array;

  constructor(texts: readonly string[]) {
    const { distinct, of } = DistinctTexts.from(texts);
    this.list = distinct.list;
    this.#first = new Int32Array(this.list.length).fill(-1);
    this.#next = new Int32Array(texts.length).fill(-1);
    for (let place = texts.length - 1; place >= 0; place--) {
      const number = of[place] as number;
      this.#next[place] = this.#first[number] as number;
      this.#first[number] = place;
    }
  }

  /**
   * A ranking of places, equal scores by place.
   *
   * @param found a ranking of the different texts, equal scores in their order; a row for each different query
   * @param rowOf for each query its row in `found`
   * @param excluded by query, a place that is not listed
   * @param k places to list for a query. Where there are fewer, -1 follows.
   */
  rank(found: Ranking, rowOf: Int32Array, excluded: ReadonlyMap<number, number>, k: number): Ranking {
    const listed = Math.min(k, this.#next.length);
    const documents = new Int32Array(rowOf.length * listed).fill(-1);
    const scores = new Float64Array(rowOf.length * listed).fill(-Infinity);
    for (const [query, row] of rowOf.entries()) {
      const without = excluded.get(query);
      const end = (query + 1) * listed;
      let at = query * listed;
      for (const { score, places } of this.#groups(found, row, k)) {
        for (const place of places) {
          if (place === without || at === end) continue;
          documents[at] = place;
          scores[at++] = score;
        }
        if (at === end) break;
      }
    }
    return { k: listed, documents, scores };
  }

  /** The places of each score of a row, best score first; of those of one text no more than `k`. */
  *#groups(found: Ranking, row: number, k: number): Generator<{ score: number; places: number[] }> {
    const end = (row + 1) * found.k;
    for (let begin = row * found.k; begin < end;) {
      const score = found.scores[begin] as number;
      const places: number[] = [];
      let at = begin;
      for (; at < end && found.scores[at] === score; at++) {
        let place = this.#first[found.documents[at] as number] as number;
        for (let count = 0; place >= 0 && count < k; count++) {
          places.push(place);
          place = this.#next[place] as number;
        }
      }
      if (at > begin + 1) places.sort((a, b) => a - b);
      yield { score, places };
      begin = at;
    }
  }
}
