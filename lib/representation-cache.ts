import { GradCacheError } from './errors.js';
import { withGradients, type Loss, type LossGradients, type LossOptions } from './losses/loss.js';
import { call } from './operators.js';
import { putRows } from './rows.js';
import { Tensor } from './tensor.js';

/**
 * The representations of a whole batch and, after {@link RepresentationCache.compute}, the loss's gradient with respect
 * to each of them: what Gao et al. 2021 (3.2) call the representation gradient cache. It holds (rows x dimension)
 * numbers twice for each tower, and nothing of any encoder.
 */
export class RepresentationCache {
  readonly #towers: {
    readonly rows: number;
    values: Tensor | null;
    gradients: Tensor | null;
    readonly filled: Set<number>;
  }[];
  #undo: LossGradients['undo'];

  /** @param rows number of rows of each tower */
  constructor(rows: readonly number[]) {
    this.#towers = rows.map((count) => ({ rows: count, values: null, gradients: null, filled: new Set() }));
  }

  /**
   * Stores a chunk's representations in the places of its rows.
   *
   * @param representations [rows, dimension], float32 or float64, without a graph
   * @throws GradCacheError `SHAPE`
   */
  put(tower: number, rows: Int32Array, representations: Tensor): void {
    const place = this.#tower(tower);
    const [count, dimension] = representations.shape;
    if (count !== rows.length || dimension === undefined) {
      throw new GradCacheError(
        'SHAPE',
        `${rows.length} rows cannot hold representations of shape [${representations.shape.join()}]`,
      );
    }
    const { dtype, device } = representations;
    const values: Tensor =
      place.values ?? call('aten::empty.memory_format', [place.rows, dimension], { dtype, device });
    place.values = values;
    putRows(values, rows, representations);
    for (const row of rows) place.filled.add(row);
  }

  /** Representations of a tower, [rows, dimension]; the cache's own tensor. @throws GradCacheError `INPUT` before the last `put` */
  representations(tower: number): Tensor {
    const { values, filled, rows } = this.#tower(tower);
    if (values === null || filled.size !== rows) {
      throw new GradCacheError('INPUT', `tower ${tower} has ${filled.size} of ${rows} representations`);
    }
    return values;
  }

  /**
   * Computes the loss over all representations and caches its gradients.
   *
   * @param weight what the gradients are multiplied by; 1 / k where k steps are accumulated
   * @returns the loss, without the weight
   * @throws GradCacheError `NON_FINITE`, `SHAPE`, `INPUT`, or what a loss of one's own throws
   */
  async compute(loss: Loss, options: LossOptions = {}, weight = 1): Promise<number> {
    const values = this.#towers.map((_, tower) => this.representations(tower));
    const result = await withGradients(loss).compute(values, weight, options);
    this.#undo?.dispose();
    this.#undo = result.undo;
    for (const [tower, gradients] of result.gradients.entries()) this.#tower(tower).gradients = gradients;
    return result.loss;
  }

  /** Takes back what {@link RepresentationCache.compute} added to gradients of a loss's own tensors, for a step that fails. */
  restore(): void {
    this.#undo?.restore();
  }

  /** dL/d(representation) of some rows of a tower, [rows, dimension]: the seed of their chunk's backward. */
  gradients(tower: number, rows: Int32Array): Tensor {
    const { gradients } = this.#tower(tower);
    if (gradients === null)
      throw new GradCacheError('INPUT', 'compute() has not run yet: there are no gradients');
    const index = Tensor.from(rows, { dtype: 'int64', device: gradients.device });
    try {
      return gradients.indexSelect(0, index);
    } finally {
      index.dispose();
    }
  }

  /** Frees the representations. Their gradients, all that the second pass needs, stay. */
  releaseRepresentations(): void {
    for (const tower of this.#towers) {
      tower.values?.dispose();
      tower.values = null;
      tower.filled.clear();
    }
  }

  dispose(): void {
    this.#undo?.dispose();
    for (const tower of this.#towers) {
      tower.values?.dispose();
      tower.gradients?.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #tower(tower: number) {
    const place = this.#towers[tower];
    if (place === undefined)
      throw new GradCacheError('INPUT', `there is no tower ${tower}, only ${this.#towers.length} of them`);
    return place;
  }
}
