import { checkKnown } from '../options/known-options.js';
import { backward, noGrad, withGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { listsOf, type Lists } from './lists.js';
import {
  leavesOf,
  requireCheckable,
  requireFinite,
  requireTowers,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';
import { requireOneTower } from './pair-loss.js';
import { joinListOptions } from './shared-options.js';
import { sumOfTiles, TILE, type Terms } from './tiled-terms.js';

/** Some documents of some queries, which are compared with all documents of these queries. */
export interface PairTile {
  /** The number of the first query, and how many. */
  readonly query: number;
  readonly queries: number;
  /** The place of the first document in each list, and how many. */
  readonly place: number;
  readonly places: number;
}

/** What defines a loss over all pairs of documents of a query, of a cross-encoder. */
export interface ListPairsParts<Read extends { readonly lengths: readonly number[] }, Prepared> {
  /** The function that makes it, for messages. */
  readonly name: string;
  /** Reads the keyword arguments `lists` and `labels`. @throws GradCacheError `INPUT`, `SHAPE` */
  readonly read: (options: LossOptions, pairs: number) => Read;
  readonly activate: (logits: Tensor) => Tensor;
  /** The score of places that no document is in. */
  readonly empty: number;
  /**
   * What tiles have in common, without a graph. @param order the order by score where {@link sorts}, else null
   */
  readonly prepare: (lists: Lists, read: Read, order: Tensor | null) => Prepared;
  /** Whether the scores of each list are sorted first, the highest in front. */
  readonly sorts: boolean;
  /** The terms of a tile. @param scores of all documents of all queries, [queries, longest] */
  readonly terms: (tile: PairTile, scores: Tensor, prepared: Prepared) => Terms;
  /** What the sum is divided by besides the count of terms. Default: 1. */
  readonly divisor?: number;
}

/** A loss over pairs of documents, computed in tiles: [queries, longest, longest] numbers never exist at once. */
export function listPairsLoss<Read extends { readonly lengths: readonly number[] }, Prepared>(
  parts: ListPairsParts<Read, Prepared>,
): LossWithGradients {
  return new ListPairsLoss(parts);
}

class ListPairsLoss<
  Read extends { readonly lengths: readonly number[] },
  Prepared,
> implements LossWithGradients {
  readonly #parts: ListPairsParts<Read, Prepared>;

  constructor(parts: ListPairsParts<Read, Prepared>) {
    this.#parts = parts;
  }

  parameters(): Parameter[] {
    return [];
  }

  checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    this.#read(options, rows);
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return joinListOptions(parts, rows);
  }

  async value(representations: readonly Tensor[], options: LossOptions): Promise<number> {
    return (await this.compute(representations, 1, options, [false])).loss;
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = [true],
  ): Promise<LossGradients> {
    requireTowers(representations);
    const read = this.#read(
      options,
      representations.map(({ shape }) => shape[0] ?? 0),
    );
    const wanted = trained[0] === true;
    const used = new Set<Tensor>();
    const keep = <Made extends Tensor>(tensor: Made): Made => {
      used.add(tensor);
      return tensor;
    };
    try {
      const [leaf] = leavesOf(representations, [wanted]) as [Tensor];
      keep(leaf);
      const { scores, prepared } = this.#layOut(leaf, read, keep);
      // Backward ends here for each tile, and goes on from here once for all.
      const [compared] = leavesOf([scores], [wanted]) as [Tensor];
      keep(compared);
      const { sum, count } = await sumOfTiles(
        tilesOf(scores.shape as [number, number]),
        (tile) => this.#parts.terms(tile, compared, prepared),
        wanted,
      );
      const divisor = Math.max(count, 1) * (this.#parts.divisor ?? 1);
      const loss = sum / divisor;
      requireFinite(loss);
      if (!wanted) return { loss, gradients: [null] };
      const gradient = keep(tidy(() => noGrad(() => compared.grad!.mul(weight / divisor))));
      await backward([scores], [gradient]);
      return { loss, gradients: [leaf.grad] };
    } finally {
      for (const tensor of used) tensor.dispose();
    }
  }

  /** The scores [queries, longest] in the graph of the logits, and what tiles have in common. */
  #layOut(
    logits: Tensor,
    read: Read,
    keep: <Made extends Tensor>(tensor: Made) => Made,
  ): { scores: Tensor; prepared: Prepared } {
    const { activate, empty, sorts, prepare } = this.#parts;
    const { scores, present, prepared } = tidy(() => {
      const lists = withGrad(() => listsOf(activate(logits), read.lengths, empty));
      if (!sorts) return { ...lists, prepared: noGrad(() => prepare(lists, read, null)) };
      const [sorted, order] = withGrad(() => call<[Tensor, Tensor]>('aten::sort', lists.scores, 1, true));
      return { scores: sorted, present: lists.present, prepared: noGrad(() => prepare(lists, read, order)) };
    });
    for (const tensor of [scores, present, ...Object.values(prepared as Readonly<Record<string, unknown>>)])
      if (tensor instanceof Tensor) keep(tensor);
    return { scores, prepared };
  }

  #read(options: LossOptions, rows: readonly number[]): Read {
    const { name, read } = this.#parts;
    checkKnown(`the loss of ${name}`, options, ['lists', 'labels']);
    requireOneTower(name, rows);
    return read(options, rows[0]!);
  }
}

/** Tiles of as many pairs as are held at once: of whole lists where these are short. */
function* tilesOf([count, longest]: readonly [number, number]): Generator<PairTile> {
  const places = Math.min(longest, Math.max(1, Math.floor(TILE / longest)));
  const queries = places < longest ? 1 : Math.max(1, Math.floor(TILE / (longest * longest)));
  for (let query = 0; query < count; query += queries)
    for (let place = 0; place < longest; place += places)
      yield {
        query,
        queries: Math.min(queries, count - query),
        place,
        places: Math.min(places, longest - place),
      };
}
