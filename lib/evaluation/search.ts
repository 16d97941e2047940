import { requireCount, requireOneOf } from '../options/option-values.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { callAsync } from '../tensor/operators.js';
import { SIMILARITIES, type Similarity } from '../options/similarity.js';
import { Tensor } from '../tensor/tensor.js';
import { compareRows, disposeRows, scoreAll } from './similarity.js';
import type { ComparedRows } from './similarity.js';
import { inWorkspace } from './workspace.js';
import type { Workspace } from './workspace.js';

/** Settings of {@link search}. */
export interface SearchOptions {
  /** Documents to return for each query. */
  readonly k: number;
  /** Default 'cosine'. */
  readonly similarity?: Similarity;
  /**
   * Queries and documents compared at once; bounds the memory that scores take. Nothing else depends on it. Default
   * `{ queries: 512, documents: 8192 }`.
   */
  readonly tile?: { readonly queries?: number; readonly documents?: number };
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
 * is off the event loop. Of documents with equal scores the one that came first is listed first. The score of a query and
 * a document depends on these two alone: equal documents tie, whatever the blocks and tiles.
 *
 * @param queries `[n, d]`
 * @param documents one tensor `[m, d]`, or blocks of rows; blocks are disposed after use, a single tensor is not
 * @throws GradCacheError `SHAPE` when the widths differ, `INPUT` for a wrong option and when there is nothing to search,
 * `NON_FINITE` for a score that is NaN or infinite
 */
export async function search(
  queries: Tensor,
  documents: Tensor | AsyncIterable<Tensor> | Iterable<Tensor>,
  options: SearchOptions,
): Promise<Ranking> {
  checkKnown('search', options, ['k', 'similarity', 'tile']);
  const { k, similarity = 'cosine', tile = {} } = options;
  checkKnown('tile', tile, ['queries', 'documents']);
  const { queries: tileQueries = 512, documents: tileDocuments = 8192 } = tile;
  requireCount('tile.queries', tileQueries, 1);
  requireCount('tile.documents', tileDocuments, 1);
  requireCount('k', k, 1);
  requireOneOf('similarity', similarity, SIMILARITIES);
  requireRows('queries', queries);
  const rows = queries.shape[0] as number;
  if (rows === 0) throw new GradCacheError('INPUT', 'A search needs at least one query.');

  // One list of the best so far for each tile of queries.
  const tiles = ranges(rows, tileQueries);
  const best: (Best | null)[] = tiles.map(() => null);
  let seen = 0;
  try {
    for await (const block of blocksOf(documents)) {
      try {
        requireRows('documents', block);
        checkWidth(queries, block);
        for (const [start, length] of ranges(block.shape[0] as number, tileDocuments)) {
          await searchTile(await rowsOf(block, start, length, similarity, 'second'), seen);
          seen += length;
        }
      } finally {
        if (block !== documents && (block as unknown) instanceof Tensor) block.dispose();
      }
    }
    if (seen === 0) throw new GradCacheError('INPUT', 'A search needs at least one document.');
    return await toRanking(best as Best[], rows, Math.min(k, seen));
  } finally {
    for (const entry of best) if (entry !== null) disposeAll(entry.scores, entry.documents);
  }

  /** Compares all queries with one tile of documents, which is disposed; `offset` is the position of its first document. */
  async function searchTile(part: ComparedRows, offset: number): Promise<void> {
    try {
      for (const [index, [start, length]] of tiles.entries()) {
        const first = await rowsOf(queries, start, length, similarity, 'first');
        const scores = await scoreAll(first, part, similarity).finally(() => disposeRows(first));
        try {
          await requireFinite(scores, start, offset);
          best[index] = await merge(best[index] ?? null, await bestOf(scores, offset, k), k);
        } finally {
          scores.dispose();
        }
      }
    } finally {
      disposeRows(part);
    }
  }
}

function blocksOf(
  documents: Tensor | AsyncIterable<Tensor> | Iterable<Tensor>,
): Iterable<Tensor> | AsyncIterable<Tensor> {
  if (documents instanceof Tensor) return [documents];
  const { [Symbol.iterator]: each, [Symbol.asyncIterator]: eachAsync } = (documents ?? {}) as Partial<
    AsyncIterable<Tensor> & Iterable<Tensor>
  >;
  if (typeof documents !== 'string' && typeof (eachAsync ?? each) === 'function') return documents;
  throw new GradCacheError('INPUT', 'documents must be a tensor [m, d], or blocks of such rows.');
}

function requireRows(name: string, rows: unknown): asserts rows is Tensor {
  if (!(rows instanceof Tensor)) throw new GradCacheError('INPUT', `${name} must be a tensor [rows, d].`);
  if (rows.shape.length !== 2)
    throw new GradCacheError(
      'SHAPE',
      `${name} are [${rows.shape.join(', ')}]; they must be [rows, d]: one representation a row.`,
    );
}

function checkWidth(queries: Tensor, documents: Tensor): void {
  if (documents.shape[1] === queries.shape[1]) return;
  throw new GradCacheError(
    'SHAPE',
    `Queries are [${queries.shape.join(', ')}] and documents [${documents.shape.join(', ')}]; ` +
      'both must be [rows, d] with the same d.',
  );
}

function rowsOf(
  tensor: Tensor,
  start: number,
  length: number,
  similarity: Similarity,
  side: 'first' | 'second',
): Promise<ComparedRows> {
  return inWorkspace(async (space) =>
    compareRows(await space.call('aten::narrow', tensor, 0, start, length), similarity, side),
  );
}

/** The best documents of each query of one tile so far, best first; equal ones by position. */
interface Best {
  readonly scores: Tensor;
  readonly documents: Tensor;
}

/** The best `k` of one tile of scores. */
function bestOf(scores: Tensor, offset: number, k: number): Promise<Best> {
  return inWorkspace(async (space) => {
    const keep = Math.min(k, scores.shape[1] as number);
    const chosen = await placesOf(scores, keep, space);
    // The chosen are in the order of their places, apart from equal ones at the end, and stay so where scores tie.
    const found = await space.call('aten::gather', scores, 1, chosen);
    const [sorted, order] = await space.callTwo('aten::sort.stable', found, {
      stable: true,
      dim: 1,
      descending: true,
    });
    const within = await space.call('aten::gather', chosen, 1, order);
    // As a tensor: a number beside int64 makes float32, which counts to 2^24.
    const first = Tensor.from(BigInt64Array.of(BigInt(offset)), { shape: [], device: scores.device });
    const documents = await space.call('aten::add.Tensor', within, first);
    first.dispose();
    return { scores: space.keep(sorted), documents: space.keep(documents) };
  });
}

/** The places of the best scores of each row, `[n, keep]`; of equal ones the first, and those in order. */
async function placesOf(scores: Tensor, keep: number, space: Workspace): Promise<Tensor> {
  const columns = scores.shape[1] as number;
  const [values, indices] = await space.callTwo(
    'aten::topk',
    scores,
    Math.min(keep + 1, columns),
    1,
    true,
    true,
  );
  const lowest = await space.call('aten::narrow', values, 1, keep - 1, 1);
  // topk breaks ties as it likes. Where the next score is lower in every row, no tie is cut, and its choice is the only one.
  if (keep < columns) {
    const next = await space.call('aten::narrow', values, 1, keep, 1);
    const cut = await space.call('aten::eq.Tensor', lowest, next);
    if ((await numberOf('aten::sum', cut)) === 0) {
      const best = await space.call('aten::narrow', indices, 1, 0, keep);
      const [places] = await space.callTwo('aten::sort', best, 1, false);
      return places;
    }
  }
  // Which are kept is told by numbers that never tie: the place of those above the lowest score that is kept, the place and
  // more of those equal to it, most of all for the others.
  const places = await space.call('aten::arange', columns, { dtype: 'int64', device: scores.device });
  const later = await space.call('aten::arange.start', columns, 2 * columns, {
    dtype: 'int64',
    device: scores.device,
  });
  const last = await space.call('aten::full_like', later, 2 * columns);
  const equal = await space.call('aten::eq.Tensor', scores, lowest);
  const equalOrLess = await space.call('aten::where.self', equal, later, last);
  const above = await space.call('aten::gt.Tensor', scores, lowest);
  const keys = await space.call('aten::where.self', above, places, equalOrLess);
  const [, chosen] = await space.callTwo('aten::topk', keys, keep, 1, false, true);
  return chosen;
}

/** The best `k` of two lists, both of which are disposed; the documents of the first all come before those of the second. */
async function merge(before: Best | null, found: Best, k: number): Promise<Best> {
  if (before === null) return found;
  const merged = await inWorkspace(async (space) => {
    const scores = await space.call('aten::cat', [before.scores, found.scores], 1);
    const documents = await space.call('aten::cat', [before.documents, found.documents], 1);
    const [sorted, order] = await space.callTwo('aten::sort.stable', scores, {
      stable: true,
      dim: 1,
      descending: true,
    });
    const keep = Math.min(k, scores.shape[1] as number);
    const top = await space.call('aten::narrow', order, 1, 0, keep);
    return {
      scores: space.keep(await space.call('aten::narrow', sorted, 1, 0, keep)),
      documents: space.keep(await space.call('aten::gather', documents, 1, top)),
    };
  });
  disposeAll(before.scores, before.documents, found.scores, found.documents);
  return merged;
}

async function requireFinite(scores: Tensor, firstQuery: number, firstDocument: number): Promise<void> {
  // Whatever is not finite makes their sum so, which is quicker to find than the score itself.
  if (Number.isFinite(await numberOf('aten::sum', scores))) return;
  const values = (await scores.values()) as Float64Array;
  const place = values.findIndex((score) => !Number.isFinite(score));
  if (place < 0) return;
  const columns = scores.shape[1] as number;
  const [query, document] = [firstQuery + Math.floor(place / columns), firstDocument + (place % columns)];
  throw new GradCacheError(
    'NON_FINITE',
    `The score of query ${query} and document ${document} is ${values[place]}: a representation is not finite.`,
  );
}

async function numberOf(operator: string, tensor: Tensor): Promise<number> {
  const result = await callAsync(operator, tensor);
  try {
    return Number((await result.values())[0]);
  } finally {
    result.dispose();
  }
}

async function toRanking(best: readonly Best[], rows: number, k: number): Promise<Ranking> {
  const ranking = { k, documents: new Int32Array(rows * k), scores: new Float64Array(rows * k) };
  let at = 0;
  for (const entry of best) {
    const scores = (await entry.scores.values()) as Float64Array;
    const documents = (await entry.documents.values()) as BigInt64Array;
    for (let i = 0; i < scores.length; i++, at++) {
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

function disposeAll(...tensors: readonly Tensor[]): void {
  for (const tensor of tensors) tensor.dispose();
}
