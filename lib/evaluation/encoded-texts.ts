import { noGrad } from '../tensor/autograd.js';
import { GradCacheError } from '../errors.js';
import { call } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';
import { DistinctTexts } from './distinct-texts.js';

/**
 * The texts of both sides of pairs. Each different text is encoded once, where it is first asked for, and its representation
 * is kept. As all texts are known from the start, each representation has its place and is copied there once.
 */
export class EncodedTexts {
  readonly #list: readonly string[];
  /** For each side, the number of the text of each pair. */
  readonly #numbers: readonly [Int32Array, Int32Array];
  /** `[different texts, dimension]`, of which the first `#known` rows are filled. */
  #rows: Tensor | null = null;
  #known = 0;

  constructor(
    [first, second]: readonly [readonly string[], readonly string[]],
    readonly encode: (texts: readonly string[]) => Promise<Tensor>,
  ) {
    const texts = new DistinctTexts();
    const [left, right] = [new Int32Array(first.length), new Int32Array(second.length)];
    // Pair by pair, so that the texts of the first pairs come first.
    for (let pair = 0; pair < first.length; pair++) {
      left[pair] = texts.of(first[pair] as string);
      right[pair] = texts.of(second[pair] as string);
    }
    this.#list = texts.list;
    this.#numbers = [left, right];
  }

  /**
   * Representations of the two sides of the pairs from `start` to `end`, one a row; both tensors are the caller's. The pairs
   * before `start` must have been asked for.
   *
   * @throws GradCacheError `SHAPE` where the encoder gives rows of another width or type than before
   */
  async rowsOf(start: number, end: number): Promise<[Tensor, Tensor]> {
    const [left, right] = this.#numbers.map((side) => side.subarray(start, end)) as [Int32Array, Int32Array];
    const known = [left, right].reduce(
      (most, side) => side.reduce((high, number) => Math.max(high, number + 1), most),
      this.#known,
    );
    if (known > this.#known) this.#add(await this.encode(this.#list.slice(this.#known, known)));
    return [this.#select(left), this.#select(right)];
  }

  dispose(): void {
    this.#rows?.dispose();
  }

  /** Copies the next representations, which are disposed, to their places. */
  #add(fresh: Tensor): void {
    const [count, width] = fresh.shape as [number, number];
    try {
      const rows: Tensor = this.#rows ?? call('aten::new_empty', fresh, [this.#list.length, width]);
      this.#rows = rows;
      if (rows.shape[1] !== width || rows.dtype !== fresh.dtype)
        throw new GradCacheError(
          'SHAPE',
          `encode() returned ${fresh.dtype} rows of ${width} numbers, and before ${rows.dtype} rows of ` +
            `${rows.shape[1]}; all representations must be alike.`,
        );
      noGrad(() => {
        const place = rows.narrow(0, this.#known, count);
        call('aten::copy_', place, fresh);
        place.dispose();
      });
      this.#known += count;
    } finally {
      fresh.dispose();
    }
  }

  #select(numbers: Int32Array): Tensor {
    const rows = this.#rows as Tensor;
    const places = Tensor.from(numbers, { device: rows.device });
    try {
      return rows.indexSelect(0, places);
    } finally {
      places.dispose();
    }
  }
}
