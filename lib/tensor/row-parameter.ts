import { GradCacheError } from '../errors.js';
import { noGrad } from './autograd.js';
import { call } from './operators.js';
import { NativeParameter } from './native-parameter.js';
import { untracked } from './scope.js';
import type { Tensor } from './tensor.js';

/** A gradient of some rows of a table; the others are zero. */
export interface RowGradient {
  /** Their numbers, int64, ascending and each once. */
  readonly rows: Tensor;
  /** [rows, width]: a view of the gradient, which can be written. */
  readonly values: Tensor;
  /** Frees both handles. */
  dispose(): void;
}

/**
 * A table of words of a native model whose gradient is of the rows that the tokens of a step had: a sparse tensor, as
 * `torch.nn.Embedding(sparse=True)` has it. There is none before the first step and after an update.
 */
export class RowParameter extends NativeParameter {
  /** How many backwards are adding to the gradient. */
  #backwards = 0;

  /** @throws GradCacheError `INPUT` while a backward adds to it, which puts another tensor in its place */
  override get grad(): Tensor | null {
    this.#requireNoBackward();
    return super.grad;
  }

  /** @throws GradCacheError `INPUT` for anything but null */
  override set grad(value: Tensor | null) {
    if (value !== null)
      throw new GradCacheError(
        'INPUT',
        'The gradient of a table by rows is part of its model and cannot be replaced; null removes it. ' +
          'call("aten::_values", tensor.grad) can be written.',
      );
    this.#requireNoBackward();
    super.grad = null;
  }

  #requireNoBackward(): void {
    if (this.#backwards > 0)
      throw new GradCacheError('INPUT', "a backward is adding to this table's gradient: await it first");
  }

  /** Runs a backward that adds to the gradients of tables. */
  static async whileAdding<T>(tables: readonly RowParameter[], run: () => Promise<T>): Promise<T> {
    for (const table of tables) table.#backwards++;
    try {
      return await run();
    } finally {
      for (const table of tables) table.#backwards--;
    }
  }

  /** The gradient; null: there is none. @throws GradCacheError `INPUT` while a backward adds to it */
  rowGradient(): RowGradient | null {
    return untracked(() => {
      const gradient = this.grad;
      if (gradient === null) return null;
      const indices = call('aten::_indices', gradient);
      try {
        const rows = indices.reshape([-1]);
        const values = call('aten::_values', gradient);
        const dispose = (): void => {
          rows.dispose();
          values.dispose();
        };
        return { rows, values, dispose };
      } finally {
        indices.dispose();
        gradient.dispose();
      }
    });
  }

  /** Puts a gradient in the place of the one that is there. It holds the memory of both tensors. */
  setRowGradient({ rows, values }: Pick<RowGradient, 'rows' | 'values'>): void {
    untracked(() => {
      noGrad(() => {
        const indices = rows.reshape([1, -1]);
        const gradient = call('aten::_sparse_coo_tensor_unsafe', indices, values, this.shape, {
          is_coalesced: true,
        });
        super.grad = gradient;
        for (const handle of [indices, gradient]) handle.dispose();
      });
    });
  }
}
