import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call, callAsync } from '../tensor/operators.js';
import { tidy } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { LossOptions } from './loss.js';

/**
 * The rows of a tower of which few columns are not 0, as an encoder with `pooling: 'splade'` gives them: row k has the
 * entries `offsets[k]` to `offsets[k + 1] - 1`, each a value and its column, by column.
 */
export class SparseTower {
  readonly rows: number;
  readonly #entries: Tensor;
  readonly #offsets: Int32Array;
  /** [entries]. */
  readonly values: Tensor;
  /** int64 [entries]. */
  readonly columns: Tensor;

  /** @param entries [entries, 2] */
  constructor(entries: Tensor, offsets: Int32Array) {
    this.rows = offsets.length - 1;
    this.#entries = entries;
    this.#offsets = offsets;
    const [values, columns] = noGrad(() =>
      tidy(() => {
        const column = (place: number): Tensor => call('aten::select.int', entries, 1, place);
        return [column(0).clone(), column(1).to({ dtype: 'int64' })] as const;
      }),
    );
    this.values = values;
    this.columns = columns;
  }

  /** int64 [entries]: the row of each entry. The caller disposes it. */
  rowOfEntries(): Tensor {
    return tidy(() => {
      const { device } = this.#entries;
      const counts = Tensor.from(BigInt64Array.from({ length: this.rows }, (_, row) => this.#count(row)));
      const rows: Tensor = call('aten::arange', this.rows, { dtype: 'int64' });
      const all: Tensor = call('aten::repeat_interleave.self_Tensor', rows, counts);
      return device === 'cpu' ? all : all.to({ device });
    });
  }

  /** How many entries the rows before a row have. */
  entriesBefore(row: number): number {
    return this.#offsets[row]!;
  }

  #count(row: number): bigint {
    return BigInt(this.#offsets[row + 1]! - this.#offsets[row]!);
  }

  /** One more than the greatest column; 0 where there is none. */
  async width(): Promise<number> {
    if (this.columns.size === 0) return 0;
    const greatest = await callAsync('aten::max', this.columns);
    try {
      return Number((await greatest.values())[0]) + 1;
    } finally {
      greatest.dispose();
    }
  }

  /** [rows, width], in libtorch's layout for sparse tensors (COO). The caller disposes it. */
  sparse(width: number): Tensor {
    return tidy(() => {
      const indices: Tensor = call('aten::stack', [this.rowOfEntries(), this.columns], 0);
      return call('aten::sparse_coo_tensor.indices_size', indices, this.values, [this.rows, width]);
    });
  }

  /** int64 [entries]: where each entry stands in dense rows of `width` columns. The caller disposes it. */
  places(width: number): Tensor {
    return tidy(() => this.rowOfEntries().mul(width).add(this.columns));
  }

  /** [rows, width] with the entries at such places, and zeros. The caller disposes it. */
  spread(places: Tensor, width: number): Tensor {
    return tidy(() => {
      const { dtype, device } = this.values;
      const all: Tensor = call('aten::zeros', [this.rows * width], { dtype, device });
      return call<Tensor>('aten::index_copy', all, 0, places, this.values).reshape([this.rows, width]);
    });
  }

  dispose(): void {
    this.values.dispose();
    this.columns.dispose();
  }
}

/**
 * The towers of a step that are sparse; null for a tower of dense rows. The caller disposes them.
 *
 * @throws GradCacheError `SHAPE`, `INPUT` for a tower with several rows a text that are no entries
 */
export function sparseTowers(
  representations: readonly Tensor[],
  { offsets }: LossOptions,
): (SparseTower | null)[] {
  if (offsets === undefined) return representations.map(() => null);
  if (!Array.isArray(offsets) || offsets.length !== representations.length)
    throw refused('offsets', offsets, 'a list with an Int32Array or null for each tower');
  const towers: (SparseTower | null)[] = [];
  try {
    for (const [tower, entries] of representations.entries())
      towers.push(sparseTower(tower, entries, (offsets as unknown[])[tower]));
    return towers;
  } catch (error) {
    for (const tower of towers) tower?.dispose();
    throw error;
  }
}

function sparseTower(tower: number, entries: Tensor, offsets: unknown): SparseTower | null {
  if (offsets === null) return null;
  if (!types.isInt32Array(offsets)) throw refused(`offsets[${tower}]`, offsets, 'an Int32Array or null');
  const { shape } = entries;
  if (shape.length !== 2 || shape[1] !== 2 || shape[0] !== offsets.at(-1))
    throw new GradCacheError(
      'SHAPE',
      `tower ${tower} has several representations a row, of shape [${shape.join()}]; entries [${offsets.at(-1)}, 2] of ` +
        "sparse rows are needed, as an encoder with pooling 'splade' gives them",
    );
  return new SparseTower(entries, offsets);
}

/** The gradient of entries [entries, 2] from that of their values, [entries]. */
export function gradientOfEntries(values: Tensor): Tensor {
  return noGrad(() => tidy(() => call('aten::stack', [values, call('aten::zeros_like', values)], 1)));
}

/**
 * The sums of values [n] by place, int64 [n], as [count]: the same bits each time.
 */
export function sumByPlace(values: Tensor, places: Tensor, count: number): Tensor {
  const { dtype, device } = values;
  const zeros: Tensor = call('aten::zeros', [count], { dtype, device });
  // On a CPU index_add walks over a list in order; on a GPU index_put sorts, and index_add does not.
  return device === 'cpu'
    ? call('aten::index_add', zeros, 0, places, values)
    : call('aten::index_put', zeros, [places], values, true);
}
