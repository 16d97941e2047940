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

/** Which of the queries a search is for: the first, and how many. */
export type Range = readonly [start: number, length: number];

/** A search under way: documents are added block by block, and the best of each query are kept. */
export class ExactSearch {
  readonly #queries: Tensor;
  readonly #k: number;
  readonly #similarity: Similarity;
  readonly #tileDocuments: number;
  /** Queries that are compared at once. */
  readonly #tiles: readonly Range[];
  /** The best so far for each tile of queries. */
  readonly #best: (Best | null)[];
  readonly #buffer = new PartsBuffer();
  #seen = 0;

  /**
   * @param queries `[n, d]`
   * @param share which of them are searched for; there may be none. Default: all
   * @throws GradCacheError `INPUT` for a wrong option and where there is no query, `SHAPE`
   */
  constructor(
    queries: Tensor,
    options: SearchOptions,
    share: (queries: number) => Range = (rows) => [0, rows],
  ) {
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
    const [first, own] = share(rows);
    this.#queries = queries;
    this.#k = k;
    this.#similarity = similarity;
    this.#tileDocuments = tileDocuments;
    this.#tiles = ranges(own, tileQueries).map(([start, length]) => [first + start, length]);
    this.#best = this.#tiles.map(() => null);
  }

  /**
   * Searches further documents, `[m, d]`, which the caller disposes of.
   *
   * @throws GradCacheError `SHAPE` for another width than the queries', `NON_FINITE` for a score that is NaN or infinite
   */
  async add(documents: Tensor): Promise<void> {
    requireRows('documents', documents);
    checkWidth(this.#queries, documents);
    await this.#searchBlock(documents);
    this.#seen += documents.shape[0] as number;
  }

  /** What was found. @throws GradCacheError `INPUT` where there was no document */
  async ranking(): Promise<Ranking> {
    if (this.#seen === 0) throw new GradCacheError('INPUT', 'A search needs at least one document.');
    const rows = this.#tiles.reduce((sum, [, length]) => sum + length, 0);
    return toRanking(this.#best as Best[], rows, Math.min(this.#k, this.#seen));
  }

  dispose(): void {
    this.#buffer.dispose();
    disposeAll(this.#best);
  }

  /** Quick rough scores tell first which documents can be among the best, so that exact ones are computed for those only. */
  async #searchBlock(block: Tensor): Promise<void> {
    const parts = ranges(block.shape[0] as number, this.#tileDocuments);
    const lists = this.#best.map((before) => new Shortlist(this.#k, before?.scores ?? null));
    try {
      for (const part of parts) await this.#listTile(lists, narrowed(block, part));
      for (const [number, part] of parts.entries()) {
        await this.#scoreTile(lists, number, narrowed(block, part), this.#seen + part[0]);
      }
    } finally {
      for (const list of lists) list.dispose();
    }
  }

  #listTile(lists: readonly Shortlist[], part: Tensor): Promise<void> {
    return inWorkspace(async (space) => {
      const documents = space.note(await roughRows(space.note(part), this.#similarity));
      for (const [index, list] of lists.entries()) {
        await inWorkspace(async (inner) => {
          const some = inner.note(narrowed(this.#queries, this.#tiles[index] as Range));
          await list.add(inner.note(await roughRows(some, this.#similarity)), documents);
        });
      }
    });
  }

  /** @param offset the position of the first document of the tile */
  #scoreTile(lists: readonly Shortlist[], number: number, part: Tensor, offset: number): Promise<void> {
    return inWorkspace(async (space) => {
      const tile = new DocumentTile(space.note(part), offset, this.#similarity, this.#buffer, space);
      for (const [index, list] of lists.entries()) {
        const range = this.#tiles[index] as Range;
        await inWorkspace(async (inner) => {
          const pairs = inner.note(await list.take(number));
          if (pairs?.first.shape[0] === 0) return;
          const some = inner.note(narrowed(this.#queries, range));
          const found = await (pairs === null
            ? tile.bestFor(some, range[0], this.#k)
            : tile.bestOfPairs(some, pairs));
          this.#best[index] = await merge(this.#best[index] ?? null, found, this.#k);
        });
      }
    });
  }
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

function ranges(total: number, size: number): Range[] {
  const list: Range[] = [];
  for (let start = 0; start < total; start += size) list.push([start, Math.min(size, total - start)]);
  return list;
}
