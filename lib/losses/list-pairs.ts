import { checkKnown } from '../options/known-options.js';
import { noGrad, withGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { listsOf, type Lists } from './lists.js';
import { lossOfTiles, TILE, type Terms } from './loss-of-tiles.js';
import type { LossOptions, LossWithGradients } from './loss.js';
import { requireOneLabel, requireOneTower } from './pair-loss.js';
import { joinListOptions } from './shared-options.js';

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
export interface ListPairsParts<
  Read extends { readonly lengths: readonly number[] },
  Prepared extends object,
> {
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
export function listPairsLoss<Read extends { readonly lengths: readonly number[] }, Prepared extends object>(
  parts: ListPairsParts<Read, Prepared>,
): LossWithGradients {
  const { name, activate, empty, sorts, prepare, terms, divisor = 1 } = parts;
  const read = (options: LossOptions, rows: readonly number[]): Read => {
    checkKnown(`the loss of ${name}`, options, ['lists', 'labels']);
    requireOneTower(name, rows);
    return parts.read(options, rows[0]!);
  };
  return lossOfTiles({
    read,
    joinOptions: (given, rows) => joinListOptions(given, rows, read),
    checkLength: requireOneLabel,
    layOut: (logits, given) => {
      const lists = withGrad(() => listsOf(activate(logits), given.lengths, empty));
      if (!sorts) return { compared: lists.scores, beside: noGrad(() => prepare(lists, given, null)) };
      const [sorted, order] = withGrad(() => call<[Tensor, Tensor]>('aten::sort', lists.scores, 1, true));
      return { compared: sorted, beside: noGrad(() => prepare(lists, given, order)) };
    },
    tiles: ({ shape }) => tilesOf(shape as [number, number]),
    terms,
    divisor,
  });
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
