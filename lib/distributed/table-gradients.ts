import { noGrad } from '../tensor/autograd.js';
import { call, callAsync } from '../tensor/operators.js';
import type { RowGradient, RowParameter } from '../tensor/row-parameter.js';
import { untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Ranks } from './ranks.js';

/**
 * Adds up the gradients of a table by rows: over ranks it is of the rows that any of them had. Ranks tell each other which these
 * are, and add up the rows alone. All ranks call it; each takes the memory for an exchange before it.
 *
 * @param type of the numbers that are sent
 */
export async function addUpRows(
  ranks: Ranks,
  table: RowParameter,
  type: 'own' | 'bfloat16',
  what: string,
): Promise<void> {
  const own = table.rowGradient();
  const made: Tensor[] = [];
  const keep = (tensor: Tensor): Tensor => {
    made.push(tensor);
    return tensor;
  };
  try {
    const counts = (await ranks.numbers([own?.rows.size ?? 0])).map(([count]) => count!);
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (total === 0) return;
    const begin = counts.slice(0, ranks.rank).reduce((sum, count) => sum + count, 0);
    const all = await ranks.agree(what, () => keep(rowsOfAll(table, own, begin, total)));
    await ranks.exchange((group) => group.allGather(all.handle, counts, what));
    const { rows, sums } = await ranks.agree(what, async () => {
      const [union, inverse] = await callAsync<[Tensor, Tensor]>('aten::_unique', all, true, false);
      keep(inverse);
      return { rows: keep(union), sums: keep(await spread(table, own, union, type)) };
    });
    await ranks.exchange((group) => group.allReduce(sums.handle, what));
    const dtype = table.dtype === 'float64' ? 'float64' : 'float32';
    const values = sums.dtype === dtype ? sums : keep(untracked(() => sums.to({ dtype })));
    table.setRowGradient({ rows, values });
  } finally {
    own?.dispose();
    for (const tensor of made) tensor.dispose();
  }
}

/** The rows of this rank among those of all. */
function rowsOfAll(table: RowParameter, own: RowGradient | null, begin: number, total: number): Tensor {
  return untracked(() =>
    noGrad(() => {
      const all: Tensor = call('aten::zeros', [total], { dtype: 'int64', device: table.device });
      if (own === null) return all;
      const part = all.narrow(0, begin, own.rows.size);
      part.copyFrom(own.rows);
      part.dispose();
      return all;
    }),
  );
}

/** The gradients of this rank's rows among zeros for `rows`. */
async function spread(
  table: RowParameter,
  own: RowGradient | null,
  rows: Tensor,
  type: 'own' | 'bfloat16',
): Promise<Tensor> {
  const wide = table.dtype === 'float64' ? 'float64' : 'float32';
  const dtype = type === 'bfloat16' ? 'bfloat16' : wide;
  const shape = [rows.size, table.shape[1]!];
  const all = untracked(() => noGrad(() => call('aten::zeros', shape, { dtype, device: table.device })));
  if (own === null) return all;
  const made: Tensor[] = [];
  try {
    made.push(await callAsync('aten::searchsorted.Tensor', rows, own.rows));
    made.push(untracked(() => own.values.to({ dtype })));
    made.push(await callAsync('aten::index_copy_', all, 0, ...made));
    return all;
  } catch (error) {
    all.dispose();
    throw error;
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}
