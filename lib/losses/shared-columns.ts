import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { SparseTower } from './sparse-tower.js';

/**
 * Row k of several sparse towers without the columns that are 0 in all of them. Products, lengths and differences of such rows
 * are those of the whole rows.
 */
export class SharedColumns {
  private constructor(
    /** Columns of the widest row. */
    readonly width: number,
    /** Of each tower, where its entries stand in dense rows of that width. The caller disposes them. */
    readonly places: readonly Tensor[],
  ) {}

  /** @param towers of as many rows each */
  static async of(towers: readonly SparseTower[]): Promise<SharedColumns> {
    const columns = Math.max(...(await Promise.all(towers.map((tower) => tower.width()))));
    const rows = Math.max(...towers.map((tower) => tower.rows));
    const { begins, ranks, rowOf } = noGrad(() => tidy(() => ranksOf(towers, rows, columns)));
    try {
      const all = (await begins.values()) as BigInt64Array;
      let width = 1;
      for (let row = 0; row < rows; row++) width = Math.max(width, Number(all[row + 1]! - all[row]!));
      const places = ranks.map((rank, k) =>
        noGrad(() => tidy(() => rank.sub(begins.indexSelect(0, rowOf[k]!)).add(rowOf[k]!.mul(width)))),
      );
      return new SharedColumns(width, places);
    } finally {
      for (const tensor of [begins, ...ranks, ...rowOf]) tensor.dispose();
    }
  }
}

/**
 * The rank of each entry's row and column among those of all towers.
 *
 * @returns `begins` [rows + 1]: the rank at which each row begins; `rowOf`: the row of each entry
 */
function ranksOf(
  towers: readonly SparseTower[],
  rows: number,
  columns: number,
): { begins: Tensor; ranks: Tensor[]; rowOf: Tensor[] } {
  const rowOf = towers.map((tower) => tower.rowOfEntries());
  const keys = towers.map((tower, k) => rowOf[k]!.mul(columns).add(tower.columns));
  const [sorted] = call<[Tensor, Tensor]>('aten::sort', call('aten::cat', keys, 0));
  const [different] = call<[Tensor, ...Tensor[]]>('aten::unique_consecutive', sorted);
  const { device } = sorted;
  const firsts: Tensor = call<Tensor>('aten::arange', rows + 1, { dtype: 'int64', device }).mul(columns);
  const rank = (of: Tensor): Tensor => call('aten::searchsorted.Tensor', different, of);
  return { begins: rank(firsts), ranks: keys.map(rank), rowOf };
}
