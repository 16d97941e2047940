import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireNumber, requireWeight } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { backward, noGrad, withGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import {
  allTrained,
  leavesOf,
  requireLoss,
  requireOneLayer,
  requireTowers,
  undoAll,
  withGradients,
  type Length,
  type Loss,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';
import { DrawnPlaces } from './drawn-places.js';
import { LossInParts } from './loss-in-parts.js';

/** Settings of {@link matryoshka}. */
export interface MatryoshkaOptions {
  /**
   * The lengths that representations are cut to, such as [768, 512, 256, 128, 64], each at most that of a representation.
   * The whole length is trained only where it is one of them.
   */
  readonly dimensions: readonly number[];
  /** What the loss at each of them is multiplied by, in their order. Default: 1. */
  readonly weights?: readonly number[] | undefined;
  /** How many of them a step takes, drawn anew for each. Default: all. */
  readonly dimensionsPerStep?: number | undefined;
  /** Seed of the draws. Default: 0. */
  readonly seed?: number;
}

/**
 * Matryoshka representation learning (Kusupati et al. 2022; sentence-transformers' MatryoshkaLoss): trains the beginnings of
 * representations too, so that users can cut them. The loss is the sum, not the mean, of `weights[k]` times the given loss at
 * `dimensions[k]`. There representations are cut to that length and then scaled to length one, so that the dot product
 * is the cosine. Losses over scores, such as {@link infoNCE}, build the scores up from one length to the next, so that five
 * lengths cost little more than one on the CPU, and about twice one with `precision: 'fast'` on a GPU of compute capability 9.0: up
 * to eight multiples of 64, temperatures from 1 / 72 on, and no row whose beginning is sixteen times as short as the row. Others are
 * computed at each.
 *
 * `step(inputs, { loss })` passes keyword arguments on to the loss. Two are its own: `labels` that are a tensor or lists
 * [rows, dimension] or [rows, columns, dimension], as long as representations, are cut with them; and `seed`, where
 * `dimensionsPerStep` draws, draws those of this step (default: the number of the step decides).
 *
 * To keep earlier batches as well: `crossBatchMemory(matryoshka(loss, …), …)`, not the other way round.
 *
 * @param loss any loss; a learned temperature is one for all dimensions
 * @throws GradCacheError `INPUT` for dimensions or weights that do not fit each other, or dimensions beyond the encoder's; at
 * the step `SHAPE` for those beyond the representations
 * @example
 * ```ts
 * const loss = matryoshka(infoNCE(), { dimensions: [384, 128, 32] });
 * const gradcache = new GradCache({ encoders: [model, model], loss });
 * ```
 */
export function matryoshka(loss: Loss, options: MatryoshkaOptions): LossWithGradients {
  requireLoss(loss);
  checkKnown('matryoshka', options, ['dimensions', 'weights', 'dimensionsPerStep', 'seed']);
  const { dimensions, weights, dimensionsPerStep = dimensions?.length, seed = 0 } = options;
  requireDimensions('dimensions', dimensions);
  if (weights !== undefined) requireWeights('weights', weights, dimensions.length);
  requireNumber('dimensionsPerStep', dimensionsPerStep, { from: 1, to: dimensions.length, whole: true });
  requireSeed(seed);
  const parts = dimensions.map((dimension, place) => ({ dimension, weight: weights?.[place] ?? 1 }));
  parts.sort((a, b) => b.dimension - a.dimension);
  const drawn = new DrawnPlaces('dimensions', { of: parts.length, count: dimensionsPerStep, seed });
  const ofLengths = withGradients(loss);
  requireOneLayer('matryoshka', ofLengths);
  return new Matryoshka(ofLengths, parts, drawn);
}

/** @throws GradCacheError `INPUT` unless it is a list of different lengths */
function requireDimensions(name: string, given: unknown): asserts given is readonly number[] {
  if (!Array.isArray(given) || given.length === 0 || new Set(given).size < given.length)
    throw refused(name, given, 'a list of different lengths, such as [768, 256, 64],');
  for (const [place, dimension] of given.entries()) requireCount(`${name}[${place}]`, dimension, 1);
}

/** @throws GradCacheError `INPUT` unless there is one for each dimension */
function requireWeights(name: string, given: unknown, count: number): void {
  if (!Array.isArray(given) || given.length !== count)
    throw refused(name, given, `a list of ${count} weights, one for each dimension,`);
  for (const [place, weight] of given.entries()) requireWeight(`${name}[${place}]`, weight, { from: 0 });
}

class Matryoshka extends LossInParts implements LossWithGradients {
  /** Longest first. */
  readonly #parts: readonly Length[];

  constructor(loss: LossWithGradients, parts: readonly Length[], drawn: DrawnPlaces) {
    super(loss, drawn);
    this.#parts = parts;
  }

  checkLengths(lengths: readonly (number | undefined)[]): void {
    const { dimension } = this.#parts[0]!;
    for (const [tower, length] of lengths.entries()) {
      if (length === undefined || length >= dimension) continue;
      throw new GradCacheError(
        'SHAPE',
        `matryoshka cuts representations to ${dimension} numbers, and those of tower ${tower} have ${length}: give ` +
          `dimensions from 1 to ${length}`,
      );
    }
    this.loss.checkLengths?.(lengths.map((length) => (length === undefined ? undefined : dimension)));
  }

  protected checkParts(
    options: LossOptions,
    lengths: readonly (number | undefined)[],
    check: (options: LossOptions, lengths: readonly (number | undefined)[]) => void,
  ): void {
    const { labels, ...others } = options;
    // Labels that are not cut fit one length at most.
    for (const { dimension } of new Set([this.#parts[0]!, this.#parts.at(-1)!]))
      tidy(() => {
        const known = labels !== undefined && lengths[0] !== undefined;
        const given = known ? { ...others, labels: cutLabels(labels, lengths[0]!, dimension) } : options;
        check(
          given,
          lengths.map((length) => (length === undefined ? undefined : dimension)),
        );
      });
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
    share?: LossShare,
  ): Promise<LossGradients> {
    requireTowers(representations);
    this.checkLengths(representations.map(({ shape }) => shape.at(-1) ?? 0));
    const undos: LossGradients['undo'][] = [];
    const leaves: Tensor[] = [];
    try {
      const { places, options: others } = this.drawn.draw(options, this.loss.takesSeed === true, undos);
      const parts = places.map((place) => this.#parts[place]!);
      const together = await this.loss.computeAt?.(parts, representations, weight, others, trained, share);
      if (together !== undefined && together !== null) {
        undos.push(together.undo);
        return { ...together, undo: undoAll(undos) };
      }
      leaves.push(...leavesOf(representations, trained));
      let loss = 0;
      for (const part of parts) loss += await this.#add(part, leaves, weight, others, trained, undos, share);
      return { loss, gradients: leaves.map(({ grad }) => grad), undo: undoAll(undos) };
    } catch (error) {
      const undo = undoAll(undos);
      undo.restore();
      undo.dispose();
      throw error;
    } finally {
      for (const leaf of leaves) leaf.dispose();
    }
  }

  /** Adds the gradients of the loss at one length to those of the leaves. @returns its share of the loss */
  async #add(
    { dimension, weight: part }: Length,
    leaves: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[],
    undos: LossGradients['undo'][],
    share: LossShare | undefined,
  ): Promise<number> {
    const cut = leaves.map((leaf) => tidy(() => withGrad(() => leaf.narrow(-1, 0, dimension).normalize())));
    const used = [...cut];
    try {
      const constants = noGrad(() => cut.map((rows) => rows.detach()));
      used.push(...constants);
      const { labels, ...others } = options;
      const shorter =
        labels === undefined ? undefined : cutLabels(labels, leaves[0]!.shape.at(-1)!, dimension);
      if (shorter instanceof Tensor && shorter !== labels) used.push(shorter);
      const given = labels === undefined ? others : { ...others, labels: shorter };
      const { loss, gradients, undo } = await this.loss.compute(
        constants,
        weight * part,
        given,
        trained,
        share,
      );
      undos.push(undo);
      used.push(...gradients.filter((gradient) => gradient !== null));
      const reached = cut.flatMap((rows, tower) => {
        const gradient = gradients[tower] ?? null;
        return rows.requiresGrad && gradient !== null ? [{ rows, gradient }] : [];
      });
      if (reached.length > 0)
        await backward(
          reached.map(({ rows }) => rows),
          reached.map(({ gradient }) => gradient),
        );
      return part * loss;
    } finally {
      for (const tensor of used) tensor.dispose();
    }
  }
}

/** Labels that are a teacher's representations as long as ours, cut to a length; others as they are. */
function cutLabels(labels: unknown, length: number, dimension: number): unknown {
  if (labels instanceof Tensor) {
    const { shape } = labels;
    return (shape.length === 2 || shape.length === 3) && shape.at(-1) === length
      ? noGrad(() => labels.narrow(-1, 0, dimension))
      : labels;
  }
  const cut = (list: unknown): unknown => {
    if (types.isTypedArray(list)) return list.length === length ? list.subarray(0, dimension) : list;
    if (!Array.isArray(list)) return list;
    if (typeof list[0] !== 'number') return list.map(cut);
    return list.length === length ? list.slice(0, dimension) : list;
  };
  // One number for each row is no representation.
  return Array.isArray(labels) && typeof labels[0] !== 'number' ? labels.map(cut) : labels;
}
