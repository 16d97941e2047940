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
  rowsOfRank,
  type LossGradients,
  type LossOptions,
  type LossShare,
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
 * @example
 * ```ts
 * const sparse = await TextEncoder.load('distilbert-base-uncased', { pooling: 'splade' });
 * const gradcache = new GradCache({ encoders: [sparse], loss: flops() });
 * await gradcache.step([sparse.tokenize(texts)]);
 * ```
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
    share?: LossShare,
  ): Promise<LossGradients> {
    requireTowers(representations);
    checkKnown('the loss of flops', options, ['offsets']);
    const towers = sparseTowers(representations, options);
    try {
      let widest = 0;
      for (const [k, tower] of towers.entries())
        widest = Math.max(widest, tower === null ? representations[k]!.shape.at(-1)! : await tower.width());
      const ownRows = representations.map(({ shape }, k) => towers[k]?.rows ?? shape[0]!);
      // Of rows that each rank has alone, all need the sums of all.
      const others = share?.rows === undefined ? null : share;
      const width = others === null ? widest : Math.max(...(await others.numbers([widest])).flat());
      const rows = (others?.rows ?? [ownRows]).flat().reduce((sum, count) => sum + count, 0);
      using sums = noGrad(() => tidy(() => this.#sums(towers, representations, width)));
      await others?.sum(sums);
      const found = noGrad(() =>
        tidy(() => {
          const counted = towers.map((tower, k) => this.#counted(tower, representations[k]!));
          const means = sums.div(rows);
          const slopes = means.mul((2 * weight) / rows);
          const gradients = towers.map((tower, k) => {
            if (trained[k] !== true) return null;
            const ofAll =
              tower === null
                ? call<Tensor>('aten::expand', slopes, representations[k]!.shape)
                : slopes.indexSelect(0, tower.columns);
            const own = ofRank(times(ofAll, counted[k]!), tower, share);
            return tower === null ? own.clone() : gradientOfEntries(own);
          });
          return { value: means.mul(means).sum(), gradients };
        }),
      );
      using value = found.value;
      const loss = Number((await value.values())[0]);
      try {
        requireFinite(loss);
      } catch (error) {
        for (const gradient of found.gradients) gradient?.dispose();
        throw error;
      }
      // All ranks have the whole: the first counts it.
      return { loss: share === undefined || share.rank === 0 ? loss : 0, gradients: found.gradients };
    } finally {
      for (const tower of towers) tower?.dispose();
    }
  }

  /** Those of each column over the rows that count, [width]. */
  #sums(towers: readonly (SparseTower | null)[], representations: readonly Tensor[], width: number): Tensor {
    return towers
      .map((tower, k) => {
        const counted = this.#counted(tower, representations[k]!);
        return tower === null
          ? times(representations[k]!, counted).sum(0)
          : sumByPlace(times(tower.values, counted), tower.columns, width);
      })
      .reduce((sum, next) => sum.add(next));
  }

  /** 1 for rows with more active columns than the threshold, 0 for others: [rows, 1], or one of each entry. Null: all count. */
  #counted(tower: SparseTower | null, rows: Tensor): Tensor | null {
    if (this.#threshold === null) return null;
    const isMore = (active: Tensor, { dtype }: Tensor): Tensor =>
      call<Tensor>('aten::gt.Scalar', active, this.#threshold).to({ dtype });
    if (tower === null) return isMore(call('aten::ne.Scalar', rows, 0).sum(1), rows).reshape([-1, 1]);
    const { values } = tower;
    const row = tower.rowOfEntries();
    const active = call<Tensor>('aten::ne.Scalar', values, 0).to({ dtype: values.dtype });
    return isMore(sumByPlace(active, row, tower.rows), values).indexSelect(0, row);
  }
}

const times = (numbers: Tensor, factor: Tensor | null): Tensor =>
  factor === null ? numbers : numbers.mul(factor);

/** The gradient of a tower with zeros for rows that other ranks compute. */
function ofRank(gradient: Tensor, tower: SparseTower | null, share: LossShare | undefined): Tensor {
  if (share === undefined || share.rows !== undefined) return gradient;
  const rows = tower?.rows ?? gradient.shape[0]!;
  const place = (row: number): number => tower?.entriesBefore(row) ?? row;
  const [first, behind] = rowsOfRank(share, rows);
  const [begin, end] = [place(first), place(behind)];
  const all = call<Tensor>('aten::zeros_like', gradient);
  all.narrow(0, begin, end - begin).copyFrom(gradient.narrow(0, begin, end - begin));
  return all;
}
