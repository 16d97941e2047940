import type { Ranks } from '../distributed/ranks.js';
import type { Tensor } from '../tensor/tensor.js';
import { ExactSearch, type Range, type Ranking, type SearchOptions } from './exact-search.js';
import { type Documents, eachBlock } from './search.js';

/**
 * `search` shared out over ranks: each has all queries and all documents, searches for its share of the queries, and gets the
 * ranking of all, which is that of one process to the bit. Every rank makes the same call.
 *
 * @throws GradCacheError as `search` does; where one rank fails, all throw
 */
export async function sharedSearch(
  ranks: Ranks,
  queries: Tensor,
  documents: Documents,
  options: SearchOptions,
): Promise<Ranking> {
  const searching = new ExactSearch(queries, options, (rows) => shareOf(rows, ranks));
  try {
    await eachBlock(documents, (block) => ranks.agree('searching', () => searching.add(block)));
    const { result, bytes } = await ranks.together('searching', () => searching.ranking(), {
      bytes: bytesOf,
    });
    return joined(result.k, bytes);
  } finally {
    searching.dispose();
  }
}

/** Shares that lie one behind the other in the order of the ranks, equal but for one query. */
function shareOf(rows: number, { rank, size }: Ranks): Range {
  const begin = Math.floor((rows * rank) / size);
  return [begin, Math.floor((rows * (rank + 1)) / size) - begin];
}

/** The scores and behind them the documents. */
function bytesOf({ documents, scores }: Ranking): Uint8Array {
  const bytes = new Uint8Array(scores.byteLength + documents.byteLength);
  bytes.set(new Uint8Array(scores.buffer, scores.byteOffset, scores.byteLength));
  bytes.set(new Uint8Array(documents.buffer, documents.byteOffset, documents.byteLength), scores.byteLength);
  return bytes;
}

function joined(k: number, parts: readonly Uint8Array[]): Ranking {
  const counts = parts.map(({ length }) => length / (8 + 4));
  const total = counts.reduce((sum, count) => sum + count, 0);
  const ranking = { k, documents: new Int32Array(total), scores: new Float64Array(total) };
  let at = 0;
  for (const [rank, part] of parts.entries()) {
    const { buffer } = part.slice();
    ranking.scores.set(new Float64Array(buffer, 0, counts[rank]), at);
    ranking.documents.set(new Int32Array(buffer, counts[rank]! * 8), at);
    at += counts[rank]!;
  }
  return ranking;
}
