import { refused, requireCount, requireOneOf } from '../options/option-values.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { call } from '../tensor/operators.js';
import { SIMILARITIES, type Similarity } from '../options/similarity.js';
import { Tensor } from '../tensor/tensor.js';
import { merge, type Best } from './best.js';
import { DocumentTile } from './document-tile.js';
import { roughRows } from './rough-rows.js';
import { Shortlist } from './shortlist.js';
import { PartsBuffer } from './similarity.js';
import { disposeAll, inWorkspace } from './workspace.js';

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
  readonly tile?: {
    /** Queries in a tile. */
    readonly queries?: number;
    /** Documents in a tile. */
    readonly documents?: number;
  };
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
 * Documents may come in blocks, so that neither all of them nor all scores need to be in memory at once. All work is off the
 * event loop. Documents with equal scores are listed in their order. A score depends only on its query and document: equal
 * documents tie, whatever the blocks and tiles.
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
  const buffer = new PartsBuffer();
  let seen = 0;
  try {
    for await (const block of blocksOf(documents)) {
      try {
        requireRows('documents', block);
        checkWidth(queries, block);
        await searchBlock(block);
        seen += block.shape[0] as number;
      } finally {
        if (block !== documents && (block as unknown) instanceof Tensor) block.dispose();
      }
    }
    if (seen === 0) throw new GradCacheError('INPUT', 'A search needs at least one document.');
    return await toRanking(best as Best[], rows, Math.min(k, seen));
  } finally {
    buffer.dispose();
    disposeAll(best);
  }

  /** Quick rough scores tell first which documents can be among the best, so that exact ones are computed for those only. */
  async function searchBlock(block: Tensor): Promise<void> {
    const parts = ranges(block.shape[0] as number, tileDocuments);
    const lists = best.map((before) => new Shortlist(k, before?.scores ?? null));
    try {
      for (const part of parts) await listTile(lists, narrowed(block, part));
      for (const [number, part] of parts.entries()) {
        await scoreTile(lists, number, narrowed(block, part), seen + part[0]);
      }
    } finally {
      for (const list of lists) list.dispose();
    }
  }

  function listTile(lists: readonly Shortlist[], part: Tensor): Promise<void> {
    return inWorkspace(async (space) => {
      const documents = space.note(await roughRows(space.note(part), similarity));
      for (const [index, list] of lists.entries()) {
        await inWorkspace(async (inner) => {
          const some = inner.note(narrowed(queries, tiles[index] as Range));
          await list.add(inner.note(await roughRows(some, similarity)), documents);
        });
      }
    });
  }

  /** @param offset the position of the first document of the tile */
  function scoreTile(
    lists: readonly Shortlist[],
    number: number,
    part: Tensor,
    offset: number,
  ): Promise<void> {
    return inWorkspace(async (space) => {
      const tile = new DocumentTile(space.note(part), offset, similarity, buffer, space);
      for (const [index, list] of lists.entries()) {
        const range = tiles[index] as Range;
        await inWorkspace(async (inner) => {
          const pairs = inner.note(await list.take(number));
          if (pairs?.first.shape[0] === 0) return;
          const some = inner.note(narrowed(queries, range));
          const found = await (pairs === null
            ? tile.bestFor(some, range[0], k)
            : tile.bestOfPairs(some, pairs));
          best[index] = await merge(best[index] ?? null, found, k);
        });
      }
    });
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
  throw refused('documents', documents, 'a tensor [rows, d], or an iterable of such tensors,');
}

function requireRows(name: string, rows: unknown): asserts rows is Tensor {
  if (!(rows instanceof Tensor)) throw refused(name, rows, 'a tensor [rows, d]');
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

function narrowed(rows: Tensor, [start, length]: Range): Tensor {
  return call('aten::narrow', rows, 0, start, length);
}

/** A ranking of what was found of each tile of queries. */
export async function toRanking(best: readonly Best[], rows: number, k: number): Promise<Ranking> {
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

type Range = readonly [start: number, length: number];

function ranges(total: number, size: number): Range[] {
  const list: Range[] = [];
  for (let start = 0; start < total; start += size) list.push([start, Math.min(size, total - start)]);
  return list;
}
