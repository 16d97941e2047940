import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import {
  requireFinite,
  requireLoss,
  withGradients,
  type Loss,
  type LossGradients,
  type LossOptions,
} from '../losses/loss.js';
import { call } from '../tensor/operators.js';
import { refused, requireCount, requireNumber } from '../options/option-values.js';
import { putRows, takeRows } from '../tensor/rows.js';
import { Tensor } from '../tensor/tensor.js';

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
    const counts: unknown = rows;
    if (!Array.isArray(counts)) throw refused('rows', rows, 'a list with the number of rows of each tower');
    counts.forEach((count: unknown, tower) => {
      requireCount(`rows of tower ${tower}`, count, 0);
    });
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
    requireRows(rows, place.rows);
    if (!(representations instanceof Tensor)) throw refused('representations', representations, 'a Tensor');
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
   * @param trained the towers whose gradients are wanted; default: all
   * @returns the loss, without the weight
   * @throws GradCacheError `NON_FINITE`, `SHAPE`, `DEVICE`, `INPUT`, or what a loss of one's own throws
   */
  async compute(
    loss: Loss,
    options: LossOptions = {},
    weight = 1,
    trained: readonly boolean[] = this.#towers.map(() => true),
  ): Promise<number> {
    requireLoss(loss);
    requireNumber('weight', weight);
    if (!Array.isArray(trained)) throw refused('trained', trained, 'a list of true or false for each tower');
    const values = this.#towers.map((_, tower) => this.representations(tower));
    const result: unknown = await withGradients(loss).compute(values, weight, options, trained);
    this.#undo?.dispose();
    this.#undo = undoOf(result);
    requireLossGradients(result, values, trained);
    for (const [tower, place] of this.#towers.entries()) {
      const gradients = result.gradients[tower] ?? null;
      place.gradients?.dispose();
      place.gradients = trained[tower] === true ? gradients : null;
      if (trained[tower] !== true) gradients?.dispose();
    }
    return result.loss;
  }

  /** Takes back what {@link RepresentationCache.compute} added to gradients of a loss's own tensors, for a step that fails. */
  restore(): void {
    this.#undo?.restore();
  }

  /** dL/d(representation) of some rows of a tower, [rows, dimension]: the seed of their chunk's backward. */
  gradients(tower: number, rows: Int32Array): Tensor {
    const { gradients, rows: most } = this.#tower(tower);
    requireRows(rows, most);
    if (gradients === null)
      throw new GradCacheError('INPUT', 'compute() has not run yet: there are no gradients');
    return takeRows(gradients, rows);
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
    requireCount('tower', tower, 0);
    const place = this.#towers[tower];
    if (place === undefined)
      throw new GradCacheError('INPUT', `there is no tower ${tower}, only ${this.#towers.length} of them`);
    return place;
  }
}

/** @throws GradCacheError `INPUT` for what are no numbers of a tower's rows */
function requireRows(rows: unknown, count: number): void {
  if (!types.isInt32Array(rows)) throw refused('rows', rows, 'an Int32Array');
  const outside = rows.find((row) => row < 0 || row >= count);
  if (outside !== undefined)
    throw new GradCacheError('INPUT', `row ${outside} is not one of the ${count} rows of its tower`);
}

/** What takes back the loss's own gradients, however wrong the rest of its result is. @throws GradCacheError `INPUT` */
function undoOf(result: unknown): LossGradients['undo'] {
  const { undo } = (result ?? {}) as Partial<LossGradients>;
  if (undo === undefined || (typeof undo?.restore === 'function' && typeof undo.dispose === 'function'))
    return undo;
  throw refused("the undo of the loss's compute()", undo, 'an object with restore() and dispose()');
}

/** @throws GradCacheError `INPUT`, `NON_FINITE`, `SHAPE`, `DEVICE` for what compute() of a loss must not give */
function requireLossGradients(
  result: unknown,
  representations: readonly Tensor[],
  trained: readonly boolean[],
): asserts result is LossGradients {
  const { loss, gradients } = (result ?? {}) as { loss?: unknown; gradients?: unknown };
  if (typeof loss !== 'number') throw refused("the loss of the loss's compute()", loss, 'a number');
  requireFinite(loss);
  if (!Array.isArray(gradients))
    throw refused("the gradients of the loss's compute()", gradients, 'a list with one for each tower');
  for (const [tower, like] of representations.entries()) {
    const gradient: unknown = gradients[tower] ?? null;
    if (gradient === null && trained[tower] === true)
      throw new GradCacheError(
        'INPUT',
        `the loss gave no gradient for the representations of tower ${tower}`,
      );
    if (gradient !== null) requireLike(`the loss's gradient of tower ${tower}`, gradient, like);
  }
}

/** @throws GradCacheError `INPUT` for no tensor; `SHAPE`, `DEVICE` for one unlike the representations */
function requireLike(name: string, gradient: unknown, like: Tensor): void {
  if (!(gradient instanceof Tensor)) throw refused(name, gradient, 'a Tensor or null');
  for (const [code, found, wanted] of [
    ['SHAPE', `[${gradient.shape.join()}]`, `[${like.shape.join()}]`],
    ['DEVICE', gradient.device, like.device],
  ] as const) {
    if (found !== wanted)
      throw new GradCacheError(code, `${name} is ${found}; its representations are ${wanted}`);
  }
}
