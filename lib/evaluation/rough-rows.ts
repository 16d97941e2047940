import type { Similarity } from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import { isProduct } from './similarity.js';
import { inWorkspace } from './workspace.js';

/**
 * Rows as float32 numbers. Their products are quick, and tell which exact scores are worth computing.
 *
 * How far such a product may be from the exact score: let u = 2^-24, the most by which float32 rounds a number, relative to
 * it. A sum of n products is off by at most gamma_n |a||b|, gamma_n = n u / (1 - n u), in whatever order it is added. A row
 * of length 1 has elements that are off by n/2 + 4 roundings: those of its length, of the division, and of float64 rows.
 * Both rows and the sum make 2 n + 8 roundings. {@link marginOf} takes 3 n + 16. The rest covers what is smaller by far: the
 * rounding of the exact score (below n u / 1000), of the lengths, of the floor, and numbers too small for float32.
 */
export interface RoughRows {
  /** `[n, d]`, float32; of length 1 for the cosine. */
  readonly rows: Tensor;
  /** `[n, 1]`, float64: the lengths of `rows`. */
  readonly lengths: Tensor;
  /** The greatest of them. */
  readonly longest: number;
}

/** Beyond it the margin is so wide that most documents lie within. */
const WIDEST = 2 ** 16;
/** The square of such lengths, and the product of two rows of them, are within float32. */
const [SHORTEST, LONGEST] = [1e-12, 1e12];

/**
 * Makes rows `[n, d]` ready for a rough comparison, or gives null where the bound above does not hold or does not help: for
 * distances, rows of zeros or of numbers beyond float32's, and on a GPU, whose float32 products may be those of TF32.
 */
export function roughRows(rows: Tensor, similarity: Similarity): Promise<RoughRows | null> {
  return inWorkspace(async (space) => {
    if (!isProduct(similarity) || rows.device !== 'cpu' || (rows.shape[1] as number) > WIDEST) return null;
    const single = await space.call('aten::to.dtype', rows, 'float32');
    const lengths = await space.call('aten::linalg_vector_norm', single, 2, [1], true);
    const values = (await lengths.values()) as Float32Array;
    if (!values.every((length) => length >= SHORTEST && length <= LONGEST)) return null;
    if (similarity === 'cosine') {
      return space.keep({
        rows: await space.call('aten::div.Tensor', single, lengths),
        lengths: await space.call('aten::ones_like', lengths, { dtype: 'float64' }),
        longest: 1,
      });
    }
    return space.keep({
      rows: single,
      lengths: await space.call('aten::to.dtype', lengths, 'float64'),
      longest: values.reduce((most, length) => Math.max(most, length), 0),
    });
  });
}

/** How far a rough score may be from the exact one, for rows of length 1. */
export function marginOf(width: number): number {
  const roundings = (3 * width + 16) * 2 ** -24;
  return roundings / (1 - roundings);
}
