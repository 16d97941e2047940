import { noGrad } from '../tensor/autograd.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import {
  allTrained,
  requireCheckable,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';
import { SharedColumns } from './shared-columns.js';
import { gradientOfEntries, sparseTowers, type SparseTower } from './sparse-tower.js';

/** A loss of rows as one of rows that may be sparse: {@link LossWithGradients.sparse} says in which form it gets them. */
export function onSparseRows(loss: LossWithGradients): LossWithGradients {
  return new OnSparseRows(loss);
}

/** A tower as the loss gets it. */
interface Form {
  readonly rows: Tensor;
  /** Where its entries stand in dense rows; null where the gradient is that of the entries' values. */
  readonly places: Tensor | null;
}

class OnSparseRows implements LossWithGradients {
  readonly packed = true;
  readonly #loss: LossWithGradients;

  constructor(loss: LossWithGradients) {
    this.#loss = loss;
  }

  parameters(): Parameter[] {
    return this.#loss.parameters();
  }

  checkLengths(lengths: readonly (number | undefined)[]): void {
    this.#loss.checkLengths?.(lengths);
  }

  checkOptions(
    options: LossOptions,
    rows: readonly number[],
    lengths?: readonly (number | undefined)[],
  ): void {
    requireCheckable(options, rows);
    const { offsets: _, ...others } = options;
    this.#loss.checkOptions?.(others, rows, lengths);
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
    share?: LossShare,
  ): Promise<LossGradients> {
    const towers = sparseTowers(representations, options);
    const forms: (Form | null)[] = [];
    try {
      if (towers.every((tower) => tower === null))
        return await this.#loss.compute(representations, weight, options, trained, share);
      const { offsets: _, ...others } = options;
      forms.push(...(await this.#formsOf(towers, representations)));
      const rows = representations.map((given, k) => forms[k]?.rows ?? given);
      const result = await this.#loss.compute(rows, weight, others, trained, share);
      const gradients = result.gradients.map((gradient, k) => {
        const form = forms[k] ?? null;
        return gradient === null || form === null ? gradient : toEntries(gradient, form);
      });
      return { ...result, gradients };
    } finally {
      for (const form of forms) {
        form?.rows.dispose();
        form?.places?.dispose();
      }
      for (const tower of towers) tower?.dispose();
    }
  }

  async #formsOf(
    towers: readonly (SparseTower | null)[],
    representations: readonly Tensor[],
  ): Promise<(Form | null)[]> {
    const sparse = towers.filter((tower) => tower !== null);
    if (this.#loss.sparse === 'columns' && sparse.length === towers.length) {
      const shared = await SharedColumns.of(sparse);
      return sparse.map((tower, k) => spread(tower, shared.places[k]!, shared.width));
    }
    const width = await widthOf(towers, representations);
    return towers.map((tower) => {
      if (tower === null) return null;
      if (this.#loss.sparse === 'rows') return { rows: tower.sparse(width), places: null };
      return spread(tower, tower.places(width), width);
    });
  }
}

function spread(tower: SparseTower, places: Tensor, width: number): Form {
  return { rows: noGrad(() => tower.spread(places, width)), places };
}

/** The gradient of the entries of a tower from that of its form, which is disposed. */
function toEntries(gradient: Tensor, { places }: Form): Tensor {
  using given = gradient;
  if (places === null) return gradientOfEntries(given);
  using values = noGrad(() => given.reshape([-1]).indexSelect(0, places));
  return gradientOfEntries(values);
}

/** The columns that all towers have. */
async function widthOf(
  towers: readonly (SparseTower | null)[],
  representations: readonly Tensor[],
): Promise<number> {
  const dense = towers.indexOf(null);
  if (dense >= 0) return representations[dense]!.shape[1]!;
  return Math.max(...(await Promise.all(towers.map((tower) => tower!.width()))));
}
