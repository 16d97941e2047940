import { Tensor } from '../tensor/tensor.js';
import { inRows, type RowPairs } from './row-pairs.js';
import { callNumber, inWorkspace, type Workspace } from './workspace.js';

/** Documents of each query of one tile, and their scores. */
export interface Best {
  /** `[queries, listed]`, float64. */
  readonly scores: Tensor;
  /** `[queries, listed]`: positions. Of equal scores the one further left has the lower position. */
  readonly documents: Tensor;
}

/**
 * Those of one tile that are among the best `k` of each query, by position.
 *
 * @param scores `[queries, documents]`
 * @param offset the position of the first document
 */
export function bestOf(scores: Tensor, offset: number, k: number): Promise<Best> {
  return inWorkspace(async (space) => {
    const places = await placesOf(scores, Math.min(k, scores.shape[1] as number), space);
    return space.keep({
      scores: await space.call('aten::gather', scores, 1, places),
      documents: await positions(places, offset, space),
    });
  });
}

/**
 * The documents of pairs with their scores. Where a query is in fewer pairs than another, scores of `-Infinity` follow.
 *
 * @param scores `[pairs]`
 * @param offset the position of the first document
 */
export function bestOfPairs(pairs: RowPairs, scores: Tensor, offset: number): Promise<Best> {
  return inWorkspace(async (space) => {
    const places = await inRows(pairs, pairs.second, 0, space);
    return space.keep({
      scores: await inRows(pairs, scores, -Infinity, space),
      documents: await positions(places, offset, space),
    });
  });
}

/**
 * The best `k` of two lists, best first, equal ones by position. Both are disposed.
 *
 * @param before the best so far: their documents all come before those of `found`
 */
export function merge(before: Best | null, found: Best, k: number): Promise<Best> {
  return inWorkspace(async (space) => {
    const lists = space.note(before === null ? [found] : [before, found]);
    const join = (tensors: Tensor[]): Promise<Tensor> => space.call('aten::cat', tensors, 1);
    const scores = await join(lists.map((list) => list.scores));
    const documents = await join(lists.map((list) => list.documents));
    const how = { stable: true, dim: 1, descending: true };
    const [sorted, order] = await space.callTwo('aten::sort.stable', scores, how);
    const keep = Math.min(k, scores.shape[1] as number);
    const top = await space.call('aten::narrow', order, 1, 0, keep);
    const best = await space.call('aten::narrow', sorted, 1, 0, keep);
    return space.keep({
      // Not a view: that would hold all of what was sorted.
      scores: await space.call('aten::clone', best),
      documents: await space.call('aten::gather', documents, 1, top),
    });
  });
}

/** The places of the best scores of each row, `[n, keep]`, in order; of equal ones the first. */
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
    if ((await callNumber('aten::sum', cut)) === 0) {
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

/** Positions of documents at places of a tile. */
function positions(places: Tensor, offset: number, space: Workspace): Promise<Tensor> {
  // As a tensor: a number beside int64 makes float32, which counts to 2^24.
  const first = Tensor.from(BigInt64Array.of(BigInt(offset)), { shape: [], device: places.device });
  return space.call('aten::add.Tensor', places, space.note(first));
}
