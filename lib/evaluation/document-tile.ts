import { GradCacheError } from '../errors.js';
import type { Similarity } from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import { bestOf, bestOfPairs, type Best } from './best.js';
import type { RowPairs } from './row-pairs.js';
import { type ComparedRows, compareRows, type PartsBuffer, scoreAll, scoreListed } from './similarity.js';
import { callNumber, inWorkspace, type Workspace } from './workspace.js';

/** Documents that are compared with queries at once. */
export class DocumentTile {
  /** All rows, once they are needed. */
  #exact: ComparedRows | null = null;

  /**
   * @param rows `[documents, d]`
   * @param offset the position of the first document
   * @param buffer, space used for as long as the tile is
   */
  constructor(
    readonly rows: Tensor,
    readonly offset: number,
    readonly similarity: Similarity,
    readonly buffer: PartsBuffer,
    readonly space: Workspace,
  ) {}

  /**
   * The best `k` documents of each query.
   *
   * @param queries `[queries, d]`
   * @param firstQuery the position of the first query
   * @throws GradCacheError `NON_FINITE` for a score that is NaN or infinite
   */
  bestFor(queries: Tensor, firstQuery: number, k: number): Promise<Best> {
    return inWorkspace(async (space) => {
      const first = space.note(await compareRows(queries, this.similarity, 'first'));
      const scores = space.note(await scoreAll(first, await this.#allRows(), this.similarity));
      await requireFinite(scores, firstQuery, this.offset);
      return bestOf(scores, this.offset, k);
    });
  }

  /** The documents of some pairs, of which there is one at least. All of their scores are finite. */
  bestOfPairs(queries: Tensor, pairs: RowPairs): Promise<Best> {
    return inWorkspace(async (space) => {
      const first = space.note(await compareRows(queries, this.similarity, 'first'));
      const [second, places] = await this.#rowsOf(pairs, space);
      const scores = space.note(await scoreListed(first, second, { ...pairs, second: places }));
      return bestOfPairs(pairs, scores, this.offset);
    });
  }

  /** The rows of some pairs, and where among them each pair has its own. */
  async #rowsOf(pairs: RowPairs, space: Workspace): Promise<[ComparedRows, Tensor]> {
    const documents = this.rows.shape[0] as number;
    const uses = await space.call('aten::bincount', pairs.second, null, documents);
    const used = space.view('aten::reshape', await space.call('aten::nonzero', uses), [-1]);
    // Where few are used, the others need not be made ready.
    if (this.#exact !== null || (used.shape[0] as number) > documents / 4) {
      return [await this.#allRows(), pairs.second];
    }
    const rows = await space.call('aten::index_select', this.rows, 0, used);
    return [
      space.note(await compareRows(rows, this.similarity, 'second')),
      await space.call('aten::searchsorted.Tensor', used, pairs.second),
    ];
  }

  async #allRows(): Promise<ComparedRows> {
    this.#exact ??= this.space.note(await compareRows(this.rows, this.similarity, 'second', this.buffer));
    return this.#exact;
  }
}

async function requireFinite(scores: Tensor, firstQuery: number, firstDocument: number): Promise<void> {
  // Whatever is not finite makes their sum so, which is quicker to find than the score itself.
  if (Number.isFinite(await callNumber('aten::sum', scores))) return;
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
