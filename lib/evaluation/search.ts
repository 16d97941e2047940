import { refused } from '../options/option-values.js';
import { Tensor } from '../tensor/tensor.js';
import { ExactSearch, type Ranking, type SearchOptions } from './exact-search.js';

/**
 * Exact nearest-neighbour search: every query against every document, tile by tile, keeping only the best `k`.
 *
 * Documents may come in blocks, so that neither all of them nor all scores need to be in memory at once. All work is off the
 * event loop. Documents with equal scores are listed in their order. A score depends only on its query and document: equal
 * documents tie, whatever the blocks and tiles.
 *
 * @param queries `[n, d]`
 * @param documents one tensor `[m, d]`, or blocks of rows; blocks are disposed after use, a single tensor is not
 * @throws GradCacheError `SHAPE` when the widths differ, `INPUT` for a wrong option and when there is nothing to search,
 * `NON_FINITE` for a score that is NaN or infinite
 * @example
 * ```ts
 * const { k, documents: found, scores } = await search(await model.encode(queries), await model.encode(documents), { k: 5 });
 * console.log(documents[found[0]!], scores[0]); // the best document for the first query; those of query i begin at i * k
 * ```
 */
export async function search(
  queries: Tensor,
  documents: Documents,
  options: SearchOptions,
): Promise<Ranking> {
  const searching = new ExactSearch(queries, options);
  try {
    await eachBlock(documents, (block) => searching.add(block));
    return await searching.ranking();
  } finally {
    searching.dispose();
  }
}

/** One tensor `[m, d]`, or blocks of rows. */
export type Documents = Tensor | AsyncIterable<Tensor> | Iterable<Tensor>;

/** Does something with each block, which is then disposed; a single tensor is the caller's. */
export async function eachBlock(documents: Documents, work: (block: Tensor) => Promise<void>): Promise<void> {
  for await (const block of blocksOf(documents)) {
    try {
      await work(block);
    } finally {
      if (block !== documents && (block as unknown) instanceof Tensor) block.dispose();
    }
  }
}

function blocksOf(documents: Documents): Iterable<Tensor> | AsyncIterable<Tensor> {
  if (documents instanceof Tensor) return [documents];
  const { [Symbol.iterator]: each, [Symbol.asyncIterator]: eachAsync } = (documents ?? {}) as Partial<
    AsyncIterable<Tensor> & Iterable<Tensor>
  >;
  if (typeof documents !== 'string' && typeof (eachAsync ?? each) === 'function') return documents;
  throw refused('documents', documents, 'a tensor [rows, d], or an iterable of such tensors,');
}
