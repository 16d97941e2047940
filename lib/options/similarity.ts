/** The similarities that are known, under the names of sentence-transformers. */
export const SIMILARITIES = ['cosine', 'dot', 'euclidean', 'manhattan'] as const;

/**
 * How two representations are compared: by the cosine of their angle, by their inner product, or by their Euclidean or
 * Manhattan distance, negated so that more is closer.
 */
export type Similarity = (typeof SIMILARITIES)[number];
