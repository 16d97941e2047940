import { noGrad } from '../autograd.js';
import { requireCount } from '../option-values.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../known-options.js';
import { callAsync } from '../operators.js';
import { tidy } from '../scope.js';
import { Tensor } from '../tensor.js';

/** How two representations are compared: by the cosine of their angle, or by their inner product. */
export type Similarity = 'cosine' | 'dot';

/** Settings of {@link search}. */
export interface SearchOptions {
  /** Documents to return for each query. */
  readonly k: number;
  /** Default 'cosine'. */
  readonly similarity?: Similarity;
  /** Queries and documents compared at once; bounds the scores in memory to `queries * documents` numbers. */
  readonly tile?: { readonly queries: number; readonly documents: number };
}

/** The best documents of each query, best first. */
export interface Ranking {
  /** Documents listed per query: the `k` asked for, or all documents where there are fewer. */
  readonly k: number;
  /** `[queries, k]`, row by row: positions of documents in the order in which they were given. */
  readonly documents: Int32Array;
  /** `[queries, k]`: their scores. */
  readonly scores: Float64Array;
}

/**
 * Exact nearest-neighbour search: every query against every document, tile by tile, keeping only the best `k`.
 *
 * Documents may come in blocks, so that neither all of them nor all scores need to be in memory at once. All work
 * is off the event loop. The order of documents with exactly equal scores is not defined.
 *
 * @param queries `[n, d]`
 * @param documents one tensor `[m, d]`, or blocks of rows; blocks are disposed after use, a single tensor is not
 * @throws GradCacheError `SHAPE` when the widths differ, `INPUT` when there is nothing to search, `NON_FINITE` for a score
 * that is NaN
 */
export async function search(
  queries: Tensor,
  documents: Tensor | AsyncIterable<Tensor> | Iterable<Tensor>,
  options: SearchOptions,
): Promise<Ranking> {
  checkKnown('search', options, ['k', 'similarity', 'tile']);
  const { k, similarity = 'cosine', tile = { queries: 1024, documents: 8192 } } = options;
  requireCount('tile.queries', tile.queries, 1);
  requireCount('tile.documents', tile.documents, 1);
  const rows = queries.shape[0] ?? 0;
  requireCount('k', k, 1);
  if (rows === 0) throw new GradCacheError('INPUT', 'A search needs at least one query.');

  // One list of the best so far for each tile of queries.
  const tiles = ranges(rows, tile.queries).map(([start, length]) =>
    prepare(queries, start, length, similarity),
  );
  const best: (Best | null)[] = tiles.map(() => null);
  let seen = 0;
  try {
    for await (const block of documents instanceof Tensor ? [documents] : documents) {
      checkWidth(queries, block);
      for (const [start, length] of ranges(block.shape[0] as number, tile.documents)) {
        const part = prepare(block, start, length, similarity);
        for (const [index, queryTile] of tiles.entries()) {
          best[index] = await merge(best[index] ?? null, await bestOf(queryTile, part, seen, k), k);
        }
        part.dispose();
        seen += length;
      }
      if (block !== documents) block.dispose();
    }
    if (seen === 0) throw new GradCacheError('INPUT', 'A search needs at least one document.');
    return await toRanking(best as Best[], rows, Math.min(k, seen));
  } finally {
    for (const tensor of tiles) tensor.dispose();
    for (const entry of best) if (entry !== null) disposeAll(entry.scores, entry.documents);
  }
}

/** Rows of one tile, ready to be multiplied: of length 1 where cosines are wanted. */
function prepare(tensor: Tensor, start: number, length: number, similarity: Similarity): Tensor {
  return tidy(() =>
    noGrad(() => {
      const rows = tensor.detach().narrow(0, start, length);
      return similarity === 'cosine' ? rows.normalize() : rows;
    }),
  );
}

/** The best documents of each query of one tile so far. */
interface Best {
  readonly scores: Tensor;
  readonly documents: Tensor;
}

/** The best `k` documents of one tile for each query of one tile; `offset` is the position of its first document. */
async function bestOf(queries: Tensor, documents: Tensor, offset: number, k: number): Promise<Best> {
  const columns = documents.t();
  const all = await callAsync('aten::mm', queries, columns);
  const within = Math.min(k, columns.shape[1] as number);
  const [scores, order] = await callAsync<[Tensor, Tensor]>('aten::topk', all, within, 1, true, true);
  // As a tensor: a number beside int64 makes float32, which counts to 2^24.
  const first = Tensor.from(BigInt64Array.of(BigInt(offset)), { shape: [], device: order.device });
  const positions = order.add(first);
  disposeAll(columns, all, order, first);
  return { scores, documents: positions };
}

/** The best `k` of two lists, both of which are disposed. */
async function merge(before: Best | null, found: Best, k: number): Promise<Best> {
  if (before === null) return found;
  const scores = await callAsync('aten::cat', [before.scores, found.scores], 1);
  const documents = await callAsync('aten::cat', [before.documents, found.documents], 1);
  const keep = Math.min(k, scores.shape[1] as number);
  const [top, order] = await callAsync<[Tensor, Tensor]>('aten::topk', scores, keep, 1, true, true);
  const chosen = await callAsync('aten::gather', documents, 1, order);
  disposeAll(before.scores, before.documents, found.scores, found.documents, scores, documents, order);
  return { scores: top, documents: chosen };
}

async function toRanking(best: readonly Best[], rows: number, k: number): Promise<Ranking> {
  const ranking = { k, documents: new Int32Array(rows * k), scores: new Float64Array(rows * k) };
  let at = 0;
  for (const entry of best) {
    const scores = (await entry.scores.values()) as ArrayLike<number>;
    const documents = (await entry.documents.values()) as BigInt64Array;
    for (let i = 0; i < scores.length; i++, at++) {
      // Where there is a NaN it is among the best: sorting takes it for the largest.
      if (Number.isNaN(scores[i]))
        throw new GradCacheError(
          'NON_FINITE',
          `The score of query ${Math.floor(at / k)} and document ${Number(documents[i])} is NaN: a representation is not finite.`,
        );
      ranking.scores[at] = scores[i] as number;
      ranking.documents[at] = Number(documents[i]);
    }
  }
  return ranking;
}

function ranges(total: number, size: number): [start: number, length: number][] {
  const list: [number, number][] = [];
  for (let start = 0; start < total; start += size) list.push([start, Math.min(size, total - start)]);
  return list;
}

function checkWidth(queries: Tensor, documents: Tensor): void {
  if (documents.shape.length !== 2 || documents.shape[1] !== queries.shape[1]) {
    throw new GradCacheError(
      'SHAPE',
      `Queries are [${queries.shape.join(', ')}] and documents [${documents.shape.join(', ')}]; ` +
        'both must be [rows, d] with the same d.',
    );
  }
}

function disposeAll(...tensors: readonly Tensor[]): void {
  for (const tensor of tensors) tensor.dispose();
}
