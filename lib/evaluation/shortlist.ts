import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { marginOf, type RoughRows } from './rough-rows.js';
import { inRows, pairsKept, pairsWhere, type RowPairs } from './row-pairs.js';
import { disposeAll, inWorkspace, type Workspace } from './workspace.js';

/** If more than one in this many pairs is listed, computing all scores is faster. */
const FEW = 8;

/** The pairs of a tile, each a query and a document. */
interface Listed {
  readonly pairs: RowPairs;
  /** `[pairs]`, float64: the most that the exact score can be. */
  readonly highest: Tensor;
}

/**
 * The documents that can be among the best `k` of some queries, according to rough scores. Tiles of documents are added one
 * after another, and each raises the score that a document must reach.
 */
export class Shortlist {
  /** `[queries, up to k]`, float64: so many documents score at least that. */
  #floor: Tensor | null;
  readonly #tiles: (Listed | null)[] = [];

  /** @param known exact scores of the best of other documents, `[queries, up to k]`; null where there are none */
  constructor(
    readonly k: number,
    known: Tensor | null,
  ) {
    this.#floor = known === null ? null : call('aten::alias', known);
  }

  dispose(): void {
    disposeAll([this.#floor, this.#tiles]);
  }

  /** Adds a tile; null for rows that cannot be compared roughly, whose pairs all have to be scored. */
  async add(queries: RoughRows | null, documents: RoughRows | null): Promise<void> {
    const listed = queries === null || documents === null ? null : await this.#list(queries, documents);
    this.#tiles.push(listed);
  }

  /** The pairs to score of the tile that was added as number `tile`; null where these are all. They are the caller's. */
  async take(tile: number): Promise<RowPairs | null> {
    await this.#prune(tile);
    const listed = this.#tiles[tile] ?? null;
    if (listed === null) return null;
    this.#tiles[tile] = null;
    listed.highest.dispose();
    return listed.pairs;
  }

  /** Whether there is memory for the pairs of another tile of so many documents, whatever is found in it. */
  async #hasRoom(queries: number, documents: number): Promise<boolean> {
    const most = queries * (4 * this.k + documents / FEW);
    const count = (): number => this.#tiles.reduce((sum, listed) => sum + (listed?.highest.shape[0] ?? 0), 0);
    if (count() <= most) return true;
    for (const tile of this.#tiles.keys()) await this.#prune(tile);
    return count() <= most;
  }

  /** Takes pairs off that cannot reach what was found after they were listed. */
  async #prune(tile: number): Promise<void> {
    const listed = this.#tiles[tile] ?? null;
    if (listed === null) return;
    this.#tiles[tile] = await inWorkspace(async (space) => {
      const lowest = space.view('aten::reshape', await this.#lowest(space), [-1]);
      const bar = await space.call('aten::index_select', lowest, 0, listed.pairs.first);
      const kept = await space.call('aten::ge.Tensor', listed.highest, bar);
      const highest = await space.call('aten::masked_select', listed.highest, kept);
      return space.keep({ pairs: await pairsKept(listed.pairs, kept, space), highest });
    });
    disposeAll(listed);
  }

  async #list(queries: RoughRows, documents: RoughRows): Promise<Listed | null> {
    const [rows, columns] = [queries.rows.shape[0] as number, documents.rows.shape[0] as number];
    if (!(await this.#hasRoom(rows, columns))) return null;
    return inWorkspace(async (space) => {
      const scores = await space.call('aten::mm', queries.rows, space.view('aten::t', documents.rows));
      const factor = marginOf(queries.rows.shape[1] as number) * documents.longest;
      const margins = await space.call('aten::mul.Tensor', queries.lengths, factor);

      // What is known may leave few pairs. Else the best of the tile tell more.
      const few = await this.#reaching(scores, margins, space);
      if (few === null) {
        const most = Math.min(this.k, columns);
        const [best] = await space.callTwo('aten::topk', scores, most, 1, true, false);
        await this.#raise(await space.call('aten::sub.Tensor', best, margins));
      }
      const pairs = few ?? (await this.#reaching(scores, margins, space));
      if (pairs === null) return null;

      const begin = await space.call('aten::mul.Scalar', pairs.first, columns);
      const places = await space.call('aten::add_.Tensor', begin, pairs.second);
      const rough = await space.call('aten::take', scores, places);
      const byQuery = space.view('aten::reshape', margins, [-1]);
      const margin = await space.call('aten::index_select', byQuery, 0, pairs.first);
      if (few !== null) {
        const least = await space.call('aten::sub.Tensor', rough, margin);
        await this.#raise(await inRows(pairs, least, -Infinity, space));
      }
      return space.keep({ pairs, highest: await space.call('aten::add.Tensor', rough, margin) });
    });
  }

  /** The pairs that can reach the floor; null where they are many, or as long as there is none. */
  async #reaching(scores: Tensor, margins: Tensor, space: Workspace): Promise<RowPairs | null> {
    if (this.#floor?.shape[1] !== this.k) return null;
    const rough = await space.call('aten::sub.Tensor', await this.#lowest(space), margins);
    const single = await space.call('aten::to.dtype', rough, 'float32');
    const [rows, columns] = scores.shape as [number, number];
    return pairsWhere(await space.call('aten::ge.Tensor', scores, single), (rows * columns) / FEW, space);
  }

  /** Raises the floor by what further documents score at least, `[queries, documents]`. */
  async #raise(least: Tensor): Promise<void> {
    const before = this.#floor;
    this.#floor = await inWorkspace(async (space) => {
      const all = await space.call('aten::cat', before === null ? [least] : [before, least], 1);
      const most = Math.min(this.k, all.shape[1] as number);
      const [best] = await space.callTwo('aten::topk', all, most, 1, true, false);
      return space.keep(best);
    });
    before?.dispose();
  }

  /** What a document has to reach to be among the best of a query, `[queries, 1]`. */
  #lowest(space: Workspace): Promise<Tensor> {
    return space.call('aten::amin', this.#floor, [1], true);
  }
}
