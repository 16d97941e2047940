import { Tensor } from '../tensor/tensor.js';
import type { Workspace } from './workspace.js';

/** Some of the pairs of a row of a first side with one of a second, in the order of the first and then of the second. */
export interface RowPairs {
  /** `[pairs]`, int64: rows of the first. */
  readonly first: Tensor;
  /** `[pairs]`, int64: rows of the second. */
  readonly second: Tensor;
  /** How many pairs each row of the first is in. */
  readonly counts: readonly number[];
}

/** The pairs for which `mask`, `[first, second]`, is true; null where they are more than `most`. */
export async function pairsWhere(mask: Tensor, most: number, space: Workspace): Promise<RowPairs | null> {
  const places = await space.call('aten::nonzero', mask);
  if ((places.shape[0] as number) > most) return null;
  const first = await space.call('aten::clone', space.view('aten::select.int', places, 1, 0));
  const second = await space.call('aten::clone', space.view('aten::select.int', places, 1, 1));
  return { first, second, counts: await countsOf(first, mask.shape[0] as number, space) };
}

/** Those of the pairs for which `mask`, `[pairs]`, is true. */
export async function pairsKept(pairs: RowPairs, mask: Tensor, space: Workspace): Promise<RowPairs> {
  const first = await space.call('aten::masked_select', pairs.first, mask);
  const second = await space.call('aten::masked_select', pairs.second, mask);
  return { first, second, counts: await countsOf(first, pairs.counts.length, space) };
}

/**
 * Values of pairs as rows of one width, a row for each row of the first. Where one has fewer pairs than another, `rest`
 * follows.
 *
 * @param values `[pairs]`, int64 or float64
 */
export async function inRows(
  pairs: RowPairs,
  values: Tensor,
  rest: number,
  space: Workspace,
): Promise<Tensor> {
  const { device, dtype } = values;
  const rows = pairs.counts.length;
  const width = pairs.counts.reduce((most, count) => Math.max(most, count), 0);
  // How far the pairs of each row of the first move to the right.
  const moves = new BigInt64Array(rows);
  let before = 0;
  for (const [row, count] of pairs.counts.entries()) {
    moves[row] = BigInt(row * width - before);
    before += count;
  }
  const byRow = space.note(Tensor.from(moves, { shape: [rows], device }));
  const move = await space.call('aten::index_select', byRow, 0, pairs.first);
  const order = await space.call('aten::arange', before, { dtype: 'int64', device });
  const cells = await space.call('aten::add_.Tensor', move, order);
  const empty = await space.call('aten::full', [rows * width], rest, { dtype, device });
  const filled = await space.call('aten::scatter_.src', empty, 0, cells, values);
  return space.view('aten::view', filled, [rows, width]);
}

async function countsOf(first: Tensor, rows: number, space: Workspace): Promise<number[]> {
  const counts = await space.call('aten::bincount', first, null, rows);
  return Array.from((await counts.values()) as BigInt64Array, Number);
}
