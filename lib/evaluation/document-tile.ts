import { GradCacheError } from '../errors.js';
import type { Similarity } from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import { bestOf, bestOfPairs, type Best } from './best.js';
import type { RowPairs } from './row-pairs.js';
import { compareRows, disposeRows, scoreAll, scoreListed } from './similarity.js';
import type { ComparedRows, PartsBuffer } from './similarity.js';
import { callNumber, inWorkspace } from './workspace.js';
import type { Workspace } from './workspace.js';

/** Documents that are compared with queries at once. */
export class DocumentTile {
  readonly #rows: Tensor;
  readonly #offset: number;
  readonly #similarity: Similarity;
  readonly #buffer: PartsBuffer;
  /** All rows, once they are needed. */
  #exact: ComparedRows | null = null;

  /**
   * @param rows `[documents, d]`
   * @param offset the position of the first document
   * @param buffer used until the tile is disposed
   */
  constructor(rows: Tensor, offset: number, similarity: Similarity, buffer: PartsBuffer) {
    this.#rows = rows;
    this.#offset = offset;
    this.#similarity = similarity;
    this.#buffer = buffer;
  }

  dispose(): void {
    if (this.#exact !== null) disposeRows(this.#exact);
  }

  /**
   * The best `k` documents of each query.
   *
   * @param queries `[queries, d]`
   * @param firstQuery the position of the first query
   * @throws GradCacheError `NON_FINITE` for a score that is NaN or infinite
   */
  bestFor(queries: Tensor, firstQuery: number, k: number): Promise<Best> {
    return inWorkspace(async (space) => {
      const first = await noted(compareRows(queries, this.#similarity, 'first'), space);
      const scores = space.note(await scoreAll(first, await this.#allRows(), this.#similarity));
      await requireFinite(scores, firstQuery, this.#offset);
      return bestOf(scores, this.#offset, k);
    });
  }

  /** The documents of some pairs, of which there is one at least. All of their scores are finite. */
  bestOfPairs(queries: Tensor, pairs: RowPairs): Promise<Best> {
    return inWorkspace(async (space) => {
      const first = await noted(compareRows(queries, this.#similarity, 'first'), space);
      const [second, places] = await this.#rowsOf(pairs, space);
      const scores = space.note(await scoreListed(first, second, { ...pairs, second: places }));
      return bestOfPairs(pairs, scores, this.#offset);
    });
  }

  /** The rows of some pairs, and where among them each pair has its own. */
  async #rowsOf(pairs: RowPairs, space: Workspace): Promise<[ComparedRows, Tensor]> {
    const documents = this.#rows.shape[0] as number;
    const uses = await space.call('aten::bincount', pairs.second, null, documents);
    const used = space.view('aten::reshape', await space.call('aten::nonzero', uses), [-1]);
    // Where few are used, the others need not be made ready.
    if (this.#exact !== null || (used.shape[0] as number) > documents / 4) {
      return [await this.#allRows(), pairs.second];
    }
    const rows = await space.call('aten::index_select', this.#rows, 0, used);
    return [
      await noted(compareRows(rows, this.#similarity, 'second'), space),
      await space.call('aten::searchsorted.Tensor', used, pairs.second),
    ];
  }

  async #allRows(): Promise<ComparedRows> {
    return (this.#exact ??= await compareRows(this.#rows, this.#similarity, 'second', this.#buffer));
  }
}

async function noted(rows: Promise<ComparedRows>, space: Workspace): Promise<ComparedRows> {
  const { parts, weights } = await rows;
  space.note(parts);
  if (weights !== null) space.note(weights);
  return { parts, weights };
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
