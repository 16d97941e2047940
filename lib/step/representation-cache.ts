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
import { refused, requireCount, requireNumber } from '../options/option-values.js';
import { takeRows } from '../tensor/rows.js';
import { Tensor } from '../tensor/tensor.js';
import { PackedRows } from './packed-rows.js';

/**
 * The representations of a whole batch and, after {@link RepresentationCache.compute}, the loss's gradient with respect
 * to each of them: what Gao et al. 2021 (3.2) call the representation gradient cache. It holds (representations x
 * dimension) numbers twice for each tower, and nothing of any encoder.
 *
 * A row of the batch has one representation, or several: a text may have one for each of its tokens. Those of a tower
 * then lie packed in one tensor, row after row; `offsets` say where each row's begin.
 */
export class RepresentationCache {
  readonly #towers: { readonly packed: PackedRows; gradients: Tensor | null }[];
  #undo: LossGradients['undo'];

  /** @param rows number of rows of each tower */
  constructor(rows: readonly number[]) {
    const counts: unknown = rows;
    if (!Array.isArray(counts)) throw refused('rows', rows, 'a list with the number of rows of each tower');
    counts.forEach((count: unknown, tower) => {
      requireCount(`rows of tower ${tower}`, count, 0);
    });
    this.#towers = rows.map((count) => ({ packed: new PackedRows(count), gradients: null }));
  }

  /**
   * Stores a chunk's representations in the places of its rows.
   *
   * @param representations [rows, dimension], float32 or float64, without a graph; with `counts`, those of all rows one
   * after the other, [sum of counts, dimension]
   * @param counts how many representations each row has, at least one; default: one each. All chunks of a tower give them,
   * or none does; a row whose count is given comes once.
   * @throws GradCacheError `SHAPE`, `INPUT`, `DTYPE`, `DEVICE`
   */
  put(tower: number, rows: Int32Array, representations: Tensor, counts?: Int32Array): void {
    const { packed } = this.#tower(tower);
    requireRows(rows, packed.rows);
    if (!(representations instanceof Tensor)) throw refused('representations', representations, 'a Tensor');
    packed.put(rows, representations, counts);
  }

  /**
   * Representations of a tower, [rows, dimension], or [offsets[rows], dimension] where rows have several; the cache's own
   * tensor.
   *
   * @throws GradCacheError `INPUT` before the last `put`
   */
  representations(tower: number): Tensor {
    const { values, filled, rows } = this.#tower(tower).packed;
    if (values === null)
      throw new GradCacheError('INPUT', `tower ${tower} has ${filled} of ${rows} representations`);
    return values;
  }

  /**
   * Where the rows of a tower begin in its representations, and at [rows] the end of the last, from the last `put` on; null
   * where each row has one representation.
   */
  offsets(tower: number): Int32Array | null {
    return this.#tower(tower).packed.offsets;
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
    const result: unknown = await withGradients(loss).compute(
      values,
      weight,
      this.#withOffsets(loss, options),
      trained,
    );
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

  /** dL/d(representation) of some rows of a tower, in the form in which `put` took them: the seed of their chunk's backward. */
  gradients(tower: number, rows: Int32Array): Tensor {
    const { gradients, packed } = this.#tower(tower);
    requireRows(rows, packed.rows);
    if (gradients === null)
      throw new GradCacheError('INPUT', 'compute() has not run yet: there are no gradients');
    return takeRows(gradients, packed.places(rows));
  }

  /** Frees the representations. Their gradients, all that the second pass needs, stay. */
  releaseRepresentations(): void {
    for (const { packed } of this.#towers) packed.release();
  }

  dispose(): void {
    this.#undo?.dispose();
    for (const { packed, gradients } of this.#towers) {
      packed.release();
      gradients?.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** A loss that does not know of offsets would take each representation for a row. @throws GradCacheError `INPUT` */
  #withOffsets(loss: Loss, options: LossOptions): LossOptions {
    const offsets = this.#towers.map(({ packed }) => packed.offsets);
    const several = offsets.findIndex((of) => of !== null);
    if (several < 0) return options;
    if (typeof loss !== 'function' && loss.packed !== true)
      throw new GradCacheError(
        'INPUT',
        `tower ${several} has several representations a row, and this loss takes one: use a loss function that reads ` +
          'the keyword argument offsets, or an object with packed: true',
      );
    const given = { ...options };
    if (given.offsets !== undefined)
      throw refused(
        'the keyword argument offsets of the loss',
        given.offsets,
        "the cache's own, which it gives",
      );
    return { ...given, offsets };
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
