import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import {
  requireFinite,
  requireLoss,
  withGradients,
  type Loss,
  type LossGradients,
  type LossOptions,
  type LossShare,
} from '../losses/loss.js';
import { valueOf } from '../losses/loss-value.js';
import { refused, requireCount, requireFunction, requireWeight } from '../options/option-values.js';
import { takeRows } from '../tensor/rows.js';
import { Tensor } from '../tensor/tensor.js';
import { PackedRows } from './packed-rows.js';

/**
 * The representations of a whole batch and, after {@link RepresentationCache.compute}, the loss's gradient with respect
 * to each of them: the representation gradient cache of Gao et al. 2021 (3.2). For each tower it holds two tensors of
 * (representations x dimension) numbers, and nothing of any encoder.
 *
 * A row has one representation, or several, such as one for each token of a text. Several lie packed in one tensor, row
 * after row; `offsets` say where each row begins.
 *
 * @example
 * ```ts
 * const cache = new RepresentationCache([anchors.length, positives.length]);
 * const rows = Int32Array.from(anchors.keys());
 * cache.put(0, rows, await model.encode(anchors));
 * cache.put(1, rows, await model.encode(positives));
 * const loss = await cache.compute(infoNCE());
 * const gradients = cache.gradients(0, rows); // dL/d(representation) of each anchor
 * cache.dispose();
 * ```
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
   * @param representations [rows, dimension], float32 or float64, without a graph; with `counts` [sum of counts,
   * dimension], row after row
   * @param counts how many representations each row has, at least one; default: one each. Either all chunks of a tower
   * have counts or none. With counts, a row may be stored only once.
   * @throws GradCacheError `SHAPE`, `INPUT`, `DTYPE`, `DEVICE`
   */
  put(tower: number, rows: Int32Array, representations: Tensor, counts?: Int32Array): void {
    const { packed } = this.#tower(tower);
    requireRows(rows, packed.rows);
    if (!(representations instanceof Tensor)) throw refused('representations', representations, 'a Tensor');
    packed.put(rows, representations, counts);
  }

  /**
   * The tensor for the representations of a tower, where its encoder puts them there itself: [rows, dimension], or with
   * `counts` [sum of counts, dimension], row after row. {@link RepresentationCache.fill} says which rows it has put. The
   * tensor belongs to the cache.
   *
   * @param empty makes it at the first call, for so many representations
   * @param counts asked at the first call: how many representations each row has, at least one; undefined: one each
   */
  target(
    tower: number,
    empty: (representations: number) => Tensor,
    counts?: () => Int32Array | undefined,
  ): Tensor {
    const { packed } = this.#tower(tower);
    requireFunction('empty', empty);
    return packed.target(empty, counts);
  }

  /**
   * Gives a tower without rows its representations, of which there are none.
   *
   * @param other a tower whose representations are as its own would be
   * @throws GradCacheError `INPUT` for a tower that has rows, and before the last `put` of the other
   */
  fillNone(tower: number, other: number): void {
    this.representations(other);
    const { packed } = this.#tower(tower);
    if (packed.rows > 0)
      throw new GradCacheError('INPUT', `tower ${tower} has ${packed.rows} rows, which put() or fill() take`);
    packed.fillNone(this.#tower(other).packed);
  }

  /** Notes that the encoder of a tower has put the representations of these rows. */
  fill(tower: number, rows: Int32Array): void {
    const { packed } = this.#tower(tower);
    requireRows(rows, packed.rows);
    packed.fill(rows);
  }

  /**
   * Representations of a tower: [rows, dimension], or [offsets[rows], dimension] if rows have several. The tensor belongs
   * to the cache.
   *
   * @throws GradCacheError `INPUT` before the last `put`
   */
  representations(tower: number): Tensor {
    const { values, filled, rows } = this.#tower(tower).packed;
    if (values === null)
      throw new GradCacheError('INPUT', `tower ${tower} has ${filled} of ${rows} representations`);
    return values;
  }

  /** Representations of all towers. */
  towers(): Tensor[] {
    return this.#towers.map((_, tower) => this.representations(tower));
  }

  /**
   * [rows + 1], where each row of a tower begins in its representations, then their end. Known after the last `put`; null
   * if each row has one representation.
   */
  offsets(tower: number): Int32Array | null {
    return this.#tower(tower).packed.offsets;
  }

  /**
   * Computes the loss over all representations and caches its gradients.
   *
   * @param weight gradients are multiplied by this: 1 / k if k steps are accumulated
   * @param trained the towers whose gradients are wanted; default: all
   * @param share the ranks, where the rows are this rank's and go round
   * @returns the loss, without the weight; of ranks, this one's part of it
   * @throws GradCacheError `NON_FINITE`, `SHAPE`, `DEVICE`, `INPUT`; also whatever your own loss throws
   */
  async compute(
    loss: Loss,
    options: LossOptions = {},
    weight = 1,
    trained: readonly boolean[] = this.#towers.map(() => true),
    share?: LossShare,
  ): Promise<number> {
    requireLoss(loss);
    requireWeight('weight', weight);
    if (!Array.isArray(trained)) throw refused('trained', trained, 'a list of true or false for each tower');
    const values = this.towers();
    const result: unknown = await withGradients(loss).compute(
      values,
      weight,
      this.#withOffsets(loss, options),
      trained,
      share,
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

  /**
   * Takes gradients that were computed elsewhere, as {@link RepresentationCache.compute} gives them. They belong to the cache.
   *
   * @param gradients shaped like the representations of the tower; null: none
   * @throws GradCacheError `INPUT`, `SHAPE`
   */
  setGradients(tower: number, gradients: Tensor | null): void {
    const place = this.#tower(tower);
    if (gradients !== null && !(gradients instanceof Tensor))
      throw refused('gradients', gradients, 'a Tensor or null');
    const count = place.packed.offsets?.[place.packed.rows] ?? place.packed.rows;
    if (gradients !== null && (gradients.shape.length !== 2 || gradients.shape[0] !== count))
      throw new GradCacheError(
        'SHAPE',
        `the gradients of tower ${tower} have shape [${gradients.shape.join()}], expected [${count}, dimension]`,
      );
    place.gradients?.dispose();
    place.gradients = gradients;
  }

  /** The loss over all representations, without gradients. @throws GradCacheError like {@link RepresentationCache.compute} */
  async valueOf(loss: Loss, options: LossOptions = {}): Promise<number> {
    requireLoss(loss);
    return valueOf(withGradients(loss), this.towers(), this.#withOffsets(loss, options));
  }

  /** Undoes what {@link RepresentationCache.compute} added to gradients of the loss's own tensors, if the step fails. */
  restore(): void {
    this.#undo?.restore();
  }

  /** dL/d(representation) of some rows of a tower, in the layout of `put`: the seed of their chunk's backward. */
  gradients(tower: number, rows: Int32Array): Tensor {
    const { packed } = this.#tower(tower);
    requireRows(rows, packed.rows);
    return takeRows(this.allGradients(tower), packed.places(rows));
  }

  /** dL/d(representation) of all rows of a tower. The tensor belongs to the cache. */
  allGradients(tower: number): Tensor {
    const { gradients } = this.#tower(tower);
    if (gradients === null)
      throw new GradCacheError('INPUT', 'compute() has not run yet: there are no gradients');
    return gradients;
  }

  /** Frees the representations. Their gradients stay: the second pass needs nothing else. */
  releaseRepresentations(): void {
    for (const { packed } of this.#towers) packed.release();
  }

  /** Frees the representations and their gradients. */
  dispose(): void {
    this.#undo?.dispose();
    for (const { packed, gradients } of this.#towers) {
      packed.release();
      gradients?.dispose();
    }
  }

  /** Frees it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** A loss that ignores offsets would treat each representation as a row. @throws GradCacheError `INPUT` */
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

/** @throws GradCacheError `INPUT` unless they are row numbers of the tower */
function requireRows(rows: unknown, count: number): void {
  if (!types.isInt32Array(rows)) throw refused('rows', rows, 'an Int32Array');
  const outside = rows.find((row) => row < 0 || row >= count);
  if (outside !== undefined)
    throw new GradCacheError('INPUT', `row ${outside} is not one of the ${count} rows of its tower`);
}

/** The `undo` of a loss's result, even if the rest of the result is wrong. @throws GradCacheError `INPUT` */
function undoOf(result: unknown): LossGradients['undo'] {
  const { undo } = (result ?? {}) as Partial<LossGradients>;
  if (undo === undefined || (typeof undo?.restore === 'function' && typeof undo.dispose === 'function'))
    return undo;
  throw refused("the undo of the loss's compute()", undo, 'an object with restore() and dispose()');
}

/** @throws GradCacheError `INPUT`, `NON_FINITE`, `SHAPE`, `DEVICE` for a wrong result of a loss's compute() */
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

/** @throws GradCacheError `INPUT` unless it is a tensor; `SHAPE`, `DEVICE` for one unlike the representations */
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
