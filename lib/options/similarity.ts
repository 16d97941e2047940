/** The similarities that are known, under the names of sentence-transformers. */
export const SIMILARITIES = ['cosine', 'dot', 'euclidean', 'manhattan'] as const;

/**
 * How two representations are compared: by the cosine of their angle, by their inner product, or by their Euclidean or
 * Manhattan distance, negated so that more is closer.
 */
export type Similarity = (typeof SIMILARITIES)[number];

/** The same for texts with a representation for each token. */
export const TOKEN_SIMILARITIES = ['maxsim', 'meanmaxsim'] as const;

/**
 * How a query and a document are compared token by token: by the sum over the query's tokens of the largest inner product
 * with a token of the document (MaxSim, Khattab & Zaharia 2020), or by their mean.
 */
export type TokenSimilarity = (typeof TOKEN_SIMILARITIES)[number];
