import { checkKnown } from '../options/known-options.js';
import { requireCount } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy } from '../tensor/scope.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import {
  allTrained,
  requireFinite,
  requireTowers,
  withGradients,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';
import { gradientOfEntries, sparseTowers, sumByPlace, type SparseTower } from './sparse-tower.js';

/** Settings of {@link flops}. */
export interface FlopsOptions {
  /** Rows with at most so many columns that are not 0 count as rows of zeros. Default: none do. */
  readonly threshold?: number | null;
}

/**
 * The FLOPS regulariser (Paria et al. 2020; sentence-transformers' FlopsLoss): `sum over columns of (mean over rows)²`,
 * which estimates the products that comparing two sparse rows takes. {@link splade} adds it to a loss.
 *
 * Towers: any number, whose rows are taken together, dense [N, d] or of an encoder with `pooling: 'splade'`.
 *
 * @throws GradCacheError `INPUT`; at the step `SHAPE`, `NON_FINITE`
 */
export function flops(options: FlopsOptions = {}): LossWithGradients {
  checkKnown('flops', options, ['threshold']);
  const { threshold = null } = options;
  if (threshold !== null) requireCount('threshold', threshold, 0);
  return new Flops(threshold);
}

class Flops implements LossWithGradients {
  readonly packed = true;
  readonly sparse = 'entries';
  readonly #threshold: number | null;

  constructor(threshold: number | null) {
    this.#threshold = threshold;
  }

  parameters(): Parameter[] {
    return [];
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
  ): Promise<LossGradients> {
    requireTowers(representations);
    checkKnown('the loss of flops', options, ['offsets']);
    const towers = sparseTowers(representations, options);
    try {
      const width = Math.max(
        ...(await Promise.all(towers.map((tower) => tower?.width() ?? Promise.resolve(0)))),
      );
      const values = representations.map((rows, place) => towers[place]?.values ?? rows);
      const rows = representations.reduce((sum, { shape }, k) => sum + (towers[k]?.rows ?? shape[0]!), 0);
      const loss = (...given: Tensor[]): Tensor => {
        const sums = towers.map((tower, k) =>
          tower === null ? this.#sumOfRows(given[k]!) : this.#sumOfEntries(given[k]!, tower, width),
        );
        const means = sums.reduce((sum, next) => sum.add(next)).div(rows);
        return means.mul(means).sum();
      };
      if (!trained.includes(true)) return await withoutGradients(() => loss(...values));
      const result = await withGradients(loss).compute(values, weight, {}, trained);
      const gradients = result.gradients.map((gradient, k) => {
        if (gradient === null || towers[k] === null) return gradient;
        using values = gradient;
        return gradientOfEntries(values);
      });
      return { ...result, gradients };
    } finally {
      for (const tower of towers) tower?.dispose();
    }
  }

  #sumOfRows(rows: Tensor): Tensor {
    if (this.#threshold === null) return rows.sum(0);
    const active = call('aten::ne.Scalar', rows, 0).sum(1);
    return rows.mul(this.#counted(active, rows).reshape([-1, 1])).sum(0);
  }

  #sumOfEntries(values: Tensor, tower: SparseTower, width: number): Tensor {
    if (this.#threshold === null) return sumByPlace(values, tower.columns, width);
    const row = tower.rowOfEntries();
    const active = sumByPlace(
      call('aten::ne.Scalar', values, 0).to({ dtype: values.dtype }),
      row,
      tower.rows,
    );
    const counted = this.#counted(active, values).indexSelect(0, row);
    return sumByPlace(values.mul(counted), tower.columns, width);
  }

  /** 1 for rows with more active columns than the threshold, 0 for others. */
  #counted(active: Tensor, { dtype }: Tensor): Tensor {
    return call('aten::gt.Scalar', active, this.#threshold).to({ dtype });
  }
}

/** For towers that train nothing. */
async function withoutGradients(loss: () => Tensor): Promise<LossGradients> {
  const value = tidy(() => noGrad(loss));
  try {
    const number = Number((await value.values())[0]);
    requireFinite(number);
    return { loss: number, gradients: [] };
  } finally {
    value.dispose();
  }
}
