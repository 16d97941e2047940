import { checkKnown } from '../options/known-options.js';
import { refused, requireBoolean, requireNumber } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { flops } from './flops.js';
import {
  allTrained,
  requireCheckable,
  requireLoss,
  requireOneLayer,
  requireTowers,
  undoAll,
  withGradients,
  type Loss,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';
import { onSparseRows } from './on-sparse-rows.js';
import { joinOptionsAround } from './shared-options.js';

/** Settings of {@link splade}. */
export interface SpladeOptions {
  /** Multiplies the regulariser of the documents: all towers but the first. */
  readonly documentRegularizerWeight: number;
  /** Multiplies the regulariser of the queries, the first tower. Default: null, there is none. */
  readonly queryRegularizerWeight?: number | null;
  /** Documents with at most so many columns that are not 0 are not regularised. Default: null, all are. */
  readonly documentRegularizerThreshold?: number | null;
  /** The same for queries. */
  readonly queryRegularizerThreshold?: number | null;
  /** Regularises the rows of all towers together as documents. Default: false. */
  readonly useDocumentRegularizerOnly?: boolean;
}

/**
 * The loss of SPLADE (Formal et al. 2021, 2022; sentence-transformers' SpladeLoss and CachedSpladeLoss): a loss of sparse
 * representations, and {@link flops} regularisers that make them sparse:
 * `loss + documentRegularizerWeight * flops(documents) + queryRegularizerWeight * flops(queries)`.
 *
 * Towers: those of the loss, the first one queries, of a {@link TextEncoder} with `pooling: 'splade'`; or dense [N, d] of an
 * encoder of your own. Sparse rows stay sparse between the passes of a step: for each column of a row that is not 0, its
 * value and number, and as much for the gradient. {@link infoNCE} and other losses of scores take them as they are, and make
 * some rows dense at a time. A loss function, such as one of your own, gets all rows dense, [N, words of the vocabulary].
 *
 * `step(inputs, { loss: { regularizerScale } })` multiplies both weights, by default by 1: see {@link regularizerWarmUp}.
 * Other keyword arguments are the given loss's.
 *
 * Over {@link Ranks} the regularisers are of the rows of all. Around a mean over rows, such as {@link distillKLDiv}, each rank
 * keeps its representations, and only sums over rows are exchanged.
 *
 * ```ts
 * const encoder = await TextEncoder.load('distilbert-base-uncased', { pooling: 'splade' });
 * const loss = splade(infoNCE({ similarity: 'dot', temperature: 1 }), {
 *   documentRegularizerWeight: 3e-5,
 *   queryRegularizerWeight: 5e-5,
 * });
 * const gradcache = new GradCache({ encoders: [encoder, encoder], loss });
 * ```
 *
 * @param loss any loss
 * @throws GradCacheError `INPUT` for a wrong option, or settings that contradict each other; at the step `SHAPE`,
 * `NON_FINITE`, and what the loss throws
 */
export function splade(loss: Loss, options: SpladeOptions): LossWithGradients {
  requireLoss(loss);
  checkKnown('splade', options, [
    'documentRegularizerWeight',
    'queryRegularizerWeight',
    'documentRegularizerThreshold',
    'queryRegularizerThreshold',
    'useDocumentRegularizerOnly',
  ]);
  const {
    documentRegularizerWeight: weight,
    queryRegularizerWeight: queryWeight = null,
    documentRegularizerThreshold: threshold = null,
    queryRegularizerThreshold: queryThreshold = null,
    useDocumentRegularizerOnly: documentsOnly = false,
  } = options;
  requireNumber('documentRegularizerWeight', weight, { from: 0 });
  if (queryWeight !== null) requireNumber('queryRegularizerWeight', queryWeight, { from: 0 });
  requireBoolean('useDocumentRegularizerOnly', documentsOnly);
  if (documentsOnly && queryWeight !== null)
    throw refused(
      'queryRegularizerWeight',
      queryWeight,
      'null, where all rows are regularised as documents,',
    );
  if (queryWeight === null && queryThreshold !== null)
    throw refused('queryRegularizerThreshold', queryThreshold, 'null, where queries are not regularised,');
  const documents = { loss: flops({ threshold }), weight, from: documentsOnly ? 0 : 1, to: Infinity };
  const queries = { loss: flops({ threshold: queryThreshold }), weight: queryWeight ?? 0, from: 0, to: 1 };
  const ofRows = withGradients(loss);
  requireOneLayer('splade', ofRows);
  return new Splade(ofRows, queryWeight === null ? [documents] : [documents, queries]);
}

/**
 * The schedule of SPLADE for `regularizerScale`: it grows with the square of the update's number, from 0 to 1, over
 * `updates`; then it stays.
 *
 * @returns the scale of an update, numbered from 1
 * @throws GradCacheError `INPUT`
 * @example
 * ```ts
 * const share = regularizerWarmUp(1000); // of the weight of a regulariser: from 0 to 1 in the first 1000 updates
 * console.log(share(500));
 * ```
 */
export function regularizerWarmUp(updates: number): (update: number) => number {
  requireNumber('updates', updates, { from: 0 });
  return (update) => (update - 1 >= updates ? 1 : ((update - 1) / updates) ** 2);
}

/** A regulariser of some towers. */
interface Regularizer {
  readonly loss: LossWithGradients;
  readonly weight: number;
  readonly from: number;
  readonly to: number;
}

class Splade implements LossWithGradients {
  readonly packed = true;
  readonly sparse = 'entries';
  readonly sharing: 'whole' | 'own' | 'parts';
  readonly takesIds: boolean;
  readonly takesSeed: boolean;
  readonly #given: LossWithGradients & { readonly temperature?: number };
  readonly #loss: LossWithGradients;
  readonly #regularizers: readonly Regularizer[];

  constructor(loss: LossWithGradients, regularizers: readonly Regularizer[]) {
    this.sharing = sharingAround(loss);
    this.takesIds = loss.takesIds === true;
    this.takesSeed = loss.takesSeed === true;
    this.#given = loss;
    this.#loss = onSparseRows(loss);
    this.#regularizers = regularizers;
  }

  /** That of the loss, if it has one. */
  get temperature(): number | undefined {
    return this.#given.temperature;
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
    const { regularizerScale, ...others } = options;
    requireScale(regularizerScale);
    this.#loss.checkOptions?.(others, rows, lengths);
  }

  optionsBeside(options: LossOptions, rows: readonly number[], others: number): LossOptions {
    return this.#given.optionsBeside?.(options, rows, others) ?? options;
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return joinOptionsAround(this.#given, ['regularizerScale'], parts, rows);
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
    share?: LossShare,
  ): Promise<LossGradients> {
    requireTowers(representations);
    const { regularizerScale = 1, ...others } = options;
    requireScale(regularizerScale);
    const offsets = others.offsets as readonly unknown[] | undefined;
    // The mean over rows of a rank's own is its part of that over all; the regularisers are of all rows.
    const part = this.#given.sharing === 'rows' ? partOf(share) : 1;
    const { loss, gradients, undo } = await this.#loss.compute(
      representations,
      weight * part,
      others,
      trained,
      share,
    );
    const sum = new Sum(part * loss, gradients);
    try {
      for (const { loss: regularizer, weight: own, from, to } of this.#regularizers) {
        const times = own * regularizerScale;
        const some = <T>(list: readonly T[]): T[] => list.slice(from, to);
        if (times === 0 || from >= representations.length) continue;
        const result = await regularizer.compute(
          some(representations),
          weight * times,
          offsets === undefined ? {} : { offsets: some(offsets) },
          some(trained),
          share?.rows === undefined ? share : { ...share, rows: share.rows.map(some) },
        );
        sum.add(times * result.loss, result.gradients, from);
      }
      return { loss: sum.loss, gradients: sum.gradients, undo };
    } catch (error) {
      sum.dispose();
      const all = undoAll([undo]);
      all.restore();
      all.dispose();
      throw error;
    }
  }
}

/** Over ranks a loss of rows is computed of each rank's own, and the sums that the regularisers need are exchanged. */
function sharingAround({ sharing = 'whole' }: LossWithGradients): 'whole' | 'own' | 'parts' {
  return sharing === 'rows' ? 'own' : sharing;
}

/** The part of all rows of the first tower that this rank has. */
function partOf(share: LossShare | undefined): number {
  if (share?.rows === undefined) return 1;
  const counts = share.rows.map(([first = 0]) => first);
  return counts[share.rank]! / counts.reduce((sum, count) => sum + count);
}

/** @throws GradCacheError `INPUT` */
function requireScale(scale: unknown): asserts scale is number {
  if (scale !== undefined) requireNumber('regularizerScale', scale, { from: 0 });
}

/** A loss and its gradients, to which others are added. */
class Sum {
  loss: number;
  readonly gradients: (Tensor | null)[];

  constructor(loss: number, gradients: readonly (Tensor | null)[]) {
    this.loss = loss;
    this.gradients = [...gradients];
  }

  /** Adds those of towers from number `from` on, and disposes them. */
  add(loss: number, gradients: readonly (Tensor | null)[], from: number): void {
    this.loss += loss;
    for (const [place, gradient] of gradients.entries()) {
      if (gradient === null) continue;
      const before = this.gradients[from + place] ?? null;
      if (before === null) {
        this.gradients[from + place] = gradient;
        continue;
      }
      noGrad(() => call('aten::add_.Tensor', before, gradient)).dispose();
      gradient.dispose();
    }
  }

  dispose(): void {
    for (const gradient of this.gradients) gradient?.dispose();
  }
}
