import { GradCacheError } from '../errors.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { orDispose } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Ranks } from './ranks.js';

/**
 * Rows of every rank, one rank's behind the other's, on every rank. Where one rank cannot make its rows, or has no memory for
 * all, all throw: `SHAPE` where a row has another shape on one of them.
 *
 * @param what what the rows are for, the same on all ranks
 * @param own makes this rank's rows, `[rows, width]`; they are disposed
 */
export async function gatherRows(ranks: Ranks, what: string, own: () => Promise<Tensor>): Promise<Tensor> {
  let [rows, all]: [Tensor | undefined, Tensor | undefined] = [undefined, undefined];
  try {
    await ranks.agree(what, async () => void (rows = await own()));
    const { shape } = rows!;
    const sizes = await ranks.numbers(shape);
    requireWidths(what, sizes);
    const counts = sizes.map(([count]) => count!);
    await ranks.agree(what, () => (all = roomForAll(rows!, counts, ranks.rank)));
    await ranks.exchange((group) => group.allGather(all!.handle, counts, what));
    return all!;
  } catch (error) {
    (all as Tensor | undefined)?.dispose();
    throw error;
  } finally {
    (rows as Tensor | undefined)?.dispose();
  }
}

/** Gloo ends the process where ranks exchange different amounts. @throws GradCacheError `SHAPE` */
function requireWidths(what: string, shapes: readonly (readonly number[])[]): void {
  const other = shapes.findIndex((shape) => shape.slice(1).join() !== shapes[0]!.slice(1).join());
  if (other < 0) return;
  throw new GradCacheError(
    'SHAPE',
    `${what}: rank ${other} has rows of another shape, [${shapes[other]!.join(', ')}] and on rank 0 [${shapes[0]!.join(', ')}]`,
  );
}

/** Room for the rows of all ranks, with a copy of this rank's at their place. */
export function roomForAll(own: Tensor, counts: readonly number[], rank: number): Tensor {
  const before = counts.slice(0, rank).reduce((sum, count) => sum + count, 0);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const all: Tensor = noGrad(() => call('aten::new_empty', own, [total, ...own.shape.slice(1)]));
  return orDispose(all, () => {
    const place = all.narrow(0, before, counts[rank]!);
    try {
      place.copyFrom(own);
    } finally {
      place.dispose();
    }
  });
}
