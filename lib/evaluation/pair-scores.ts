import type { Similarity } from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import { takeRows } from '../tensor/rows.js';
import { similaritiesOf } from './similarity.js';

/** Pairs that are scored at once; bounds memory. */
const AT_ONCE = 8192;

/**
 * Scores of listed pairs of an anchor and a document. Documents come in blocks, in order, and the pairs of a block are scored
 * while it is there.
 */
export class PairScores {
  /** In the order in which the pairs were given. */
  readonly scores: Float64Array;
  /** Places of pairs, by document. */
  readonly #order: Uint32Array;
  #next = 0;

  constructor(
    readonly anchors: Int32Array,
    readonly documents: Int32Array,
  ) {
    this.scores = new Float64Array(anchors.length);
    this.#order = Uint32Array.from(documents.keys()).sort((a, b) => documents[a]! - documents[b]! || a - b);
  }

  /**
   * Scores the pairs with the documents of a block.
   *
   * @param anchorRows `[anchors, d]`
   * @param block `[documents, d]`
   * @param begin the number of the first document of the block
   */
  async add(anchorRows: Tensor, block: Tensor, begin: number, similarity: Similarity): Promise<void> {
    const end = begin + (block.shape[0] as number);
    while (this.#next < this.#order.length) {
      const places: number[] = [];
      for (let at = this.#next; at < this.#order.length && places.length < AT_ONCE; at++) {
        const place = this.#order[at]!;
        if (this.documents[place]! >= end) break;
        places.push(place);
      }
      if (places.length === 0) return;
      const sides = [
        takeRows(
          anchorRows,
          Int32Array.from(places, (place) => this.anchors[place]!),
        ),
        takeRows(
          block,
          Int32Array.from(places, (place) => this.documents[place]! - begin),
        ),
      ] as const;
      const values = await similaritiesOf(sides, similarity);
      for (const [index, place] of places.entries()) this.scores[place] = values[index]!;
      this.#next += places.length;
    }
  }
}
