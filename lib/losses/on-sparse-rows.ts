import type { Parameter, Tensor } from '../tensor/tensor.js';
import type { LossGradients, LossOptions, LossWithGradients } from './loss.js';
import { sparseTowers, type SparseTower } from './sparse-tower.js';

/** A loss of rows as one of rows that may be sparse: {@link LossWithGradients.sparse} says in which form it gets them. */
export function onSparseRows(loss: LossWithGradients): LossWithGradients {
  return new OnSparseRows(loss);
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

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = representations.map(() => true),
  ): Promise<LossGradients> {
    const towers = sparseTowers(representations, options);
    const made: Tensor[] = [];
    try {
      if (towers.every((tower) => tower === null))
        return await this.#loss.compute(representations, weight, options, trained);
      const { offsets: _, ...others } = options;
      const width = await widthOf(representations, towers);
      const rows = representations.map((given, place) => {
        const tower = towers[place] ?? null;
        if (tower === null) return given;
        const form = this.#loss.sparse === true ? tower.compressed(width) : tower.dense(width);
        made.push(form);
        return form;
      });
      const result = await this.#loss.compute(rows, weight, others, trained);
      const gradients = result.gradients.map((gradient, place) =>
        gradient === null ? null : (towers[place]?.gradient(gradient) ?? gradient),
      );
      return { ...result, gradients };
    } finally {
      for (const tensor of made) tensor.dispose();
      for (const tower of towers) tower?.dispose();
    }
  }
}

/** The columns that all towers have. */
async function widthOf(
  representations: readonly Tensor[],
  towers: readonly (SparseTower | null)[],
): Promise<number> {
  const dense = representations.find((_, place) => towers[place] === null);
  if (dense !== undefined) return dense.shape[1]!;
  return Math.max(...(await Promise.all(towers.map((tower) => tower!.width()))));
}
