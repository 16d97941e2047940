import type { GroupHandle } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { backward, noGrad, withGrad } from '../tensor/autograd.js';
import { GradientSnapshot } from '../tensor/gradient-snapshot.js';
import { call } from '../tensor/operators.js';
import { isNumber, refused } from '../options/option-values.js';
import { synchronous } from '../options/synchronous.js';
import { tidy } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';

/** A loss (finite) and its gradient with respect to each tower's representations: the paper's step 2. */
export interface LossGradients {
  /** The loss. */
  readonly loss: number;
  /** One for each tower, shaped like its representations and multiplied by the weight; null if it is not wanted. */
  readonly gradients: readonly (Tensor | null)[];
  /** Undoes the loss's additions to gradients of tensors outside `parameters()`; called if the step fails later. */
  readonly undo?: {
    /** Takes the additions back. */
    restore(): void;
    /** Frees what it would need for that. */
    dispose(): void;
  };
}

/** A length that representations are cut to, and what the loss there is multiplied by. */
export interface Length {
  readonly dimension: number;
  readonly weight: number;
}

/** The ranks that compute a loss together. */
export interface LossShare {
  /** @internal For native code. */
  readonly group: GroupHandle;
  /** @internal What they meet for. */
  readonly phase: number;
  /** The number of this rank, from 0. */
  readonly rank: number;
  /** How many there are. */
  readonly size: number;
  /**
   * Of each rank the number of rows of each tower, where `representations` are those of this rank's rows alone, and so are the
   * gradients: those of the rows of all go round. Default: each rank has the representations of all.
   */
  readonly rows?: readonly (readonly number[])[];
  /**
   * For a loss in TypeScript: tells all ranks up to eight numbers, and gives those of each. Like `sum` it waits for the others:
   * all ranks make the same calls in the same order. Both throw where another rank has failed.
   */
  numbers(own: readonly number[]): Promise<readonly (readonly number[])[]>;
  /** The sum over ranks of a tensor without gaps, of the same shape and type on all, in place. */
  sum(tensor: Tensor): Promise<void>;
  /**
   * Where every rank has added the whole gradients of parameters of the loss: sees to it that they are counted once. All ranks but
   * the first forget what they have of these in this step, so it comes before gradients that ranks add in parts.
   */
  countOnce(parameters: readonly Parameter[]): void;
}

/** The rows that a rank computes of as many as all ranks have: where they begin, and where they end. */
export function rowsOfRank({ rank, size }: LossShare, rows: number): readonly [begin: number, end: number] {
  return [Math.floor((rows * rank) / size), Math.floor((rows * (rank + 1)) / size)];
}

/** A loss that computes its own gradients, like {@link infoNCE}. */
export interface LossWithGradients {
  /** True if rows may have several representations, with `offsets` in {@link LossOptions}. Default: false. */
  readonly packed?: boolean;
  /**
   * In which form it takes sparse rows. `'entries'`: as encoders give them, each row a list of [value, column] with `offsets`
   * in {@link LossOptions}. {@link splade} takes them so, and hands them on to the loss inside of it:
   *
   * - `'rows'`: in libtorch's layout for sparse tensors (COO). The gradient of such a tower is that of its values, [values].
   * - `'columns'`: without the columns that are 0 in row k of every tower, for a loss that compares row k of a tower with
   *   row k of others alone, and whatever the order of columns is. Rows are then dense, [rows, fewer columns].
   *
   * Default: dense, with all of their zeros.
   */
  readonly sparse?: 'entries' | 'rows' | 'columns';
  /**
   * True if it takes the keyword argument `ids`, what identifies the example of each row: {@link crossBatchMemory} hands it
   * on. Default: false.
   */
  readonly takesIds?: boolean;
  /** True if it draws something anew at each step, and takes the keyword argument `seed` for it. Default: false. */
  readonly takesSeed?: boolean;
  /**
   * The layers whose representations it takes side by side: {@link TextEncoder.layers} of its encoders must be the same. See
   * {@link adaptiveLayer}. Default: it takes those of the last layer.
   */
  readonly layers?: readonly number[] | undefined;
  /**
   * How {@link Ranks} compute it together.
   *
   * - `'parts'`: each has all representations, and `compute` gives a rank's part of the loss and of all gradients, whose sum
   *   over ranks is the whole. Its time and its memory for scores are divided.
   * - `'rows'`: it is the mean over rows of terms of the same row of each tower, and a rank computes that of its own rows.
   * - `'own'`: each has the representations and the keyword arguments of its own rows alone. `compute` is given `share` with `rows`,
   *   and gives a rank's part of the loss, and the whole gradients of its rows. By `share` it learns what it needs of others.
   * - `'whole'` (default): each has all representations and computes all of it, as it is without ranks.
   */
  readonly sharing?: 'whole' | 'rows' | 'own' | 'parts';
  /**
   * Of a loss that is shared in `'parts'`: whether a rank can compute its part with the representations of its own rows, while
   * those of others go round (`rows` of `share`). Default: false.
   */
  readonly takesRing?: boolean;
  /**
   * The loss of a batch, and its gradients.
   *
   * @param representations one tensor per tower, [rows, dimension], without a graph
   * @param weight the gradients, but not the loss, are multiplied by this
   * @param options the option `loss` of `step`
   * @param trained the towers whose gradients are wanted; gradients of others are ignored
   * @param share of a loss that is shared in `'parts'` or `'own'`: the ranks, where there are several
   */
  compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
    share?: LossShare,
  ): Promise<LossGradients>;
  /**
   * The weighted sum of the loss at several lengths, for one that computes it in less than the time of all of them: see
   * {@link matryoshka}. Its gradients are those of whole representations, which it cuts and scales to length one. Where it
   * is not there, or gives null, `compute` is called for each.
   */
  computeAt?(
    lengths: readonly Length[],
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
    share?: LossShare,
  ): Promise<LossGradients | null>;
  /** Parameters of the loss itself, e.g. a learned temperature. */
  parameters(): Parameter[];
  /** The loss alone, without any gradient. Default: that of `compute`, whose gradients are thrown away. */
  value?(representations: readonly Tensor[], options: LossOptions): Promise<number>;
  /**
   * Refuses encoders whose representations do not fit, before a batch is encoded. Default: none.
   *
   * @param lengths for each tower the length of a representation; undefined where its encoder does not tell
   */
  checkLengths?(lengths: readonly (number | undefined)[]): void;
  /**
   * Refuses keyword arguments before a batch is encoded. Default: none; the loss refuses them when it is computed.
   *
   * @param rows the number of rows of each tower
   * @param lengths those of {@link checkLengths}, where they are known
   * @throws GradCacheError `INPUT`, `SHAPE`
   */
  checkOptions?(
    options: LossOptions,
    rows: readonly number[],
    lengths?: readonly (number | undefined)[],
  ): void;
  /**
   * The keyword arguments that say the same of a batch when rows that belong to none of its rows come behind it, as one more
   * tower: {@link crossBatchMemory} adds such rows. Default: those of the batch as they are.
   *
   * @param rows the number of rows of each tower of the batch
   * @param others the number of rows that come behind
   * @throws GradCacheError `INPUT`, `SHAPE`
   */
  optionsBeside?(options: LossOptions, rows: readonly number[], others: number): LossOptions;
  /**
   * The keyword arguments that say of the rows of all {@link Ranks}, those of rank 0 first in each tower, what each rank's say
   * of its own rows. Default: lists with an entry for each row are joined, and all else is the same on all ranks.
   *
   * @param parts the keyword arguments of each rank
   * @param rows of each rank, the number of rows of each tower
   * @throws GradCacheError `INPUT`, `SHAPE`
   */
  joinOptions?(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions;
}

/**
 * Keyword arguments of a loss, from `step(inputs, { loss: { … } })`.
 *
 * If rows of a tower have several representations, they include `offsets`, one entry for each tower: an `Int32Array`
 * [rows + 1], where row k has the representations `offsets[k]` to `offsets[k + 1] - 1`, or null if each row has one.
 */
export type LossOptions = Readonly<Record<string, unknown>>;

/**
 * Any function of the representations that returns a scalar tensor. It runs on the JavaScript thread, once a step, on
 * the whole batch's representations; autograd does the rest. It must depend on every tower that has something to train.
 *
 * Its arguments are one tensor per tower, then the keyword arguments of `step`. For two towers it is
 * `(a: Tensor, b: Tensor, options: LossOptions) => Tensor`. If the compiler does not know the number of towers, each
 * argument has both types.
 */
export type LossFunction<Towers extends readonly unknown[] = readonly unknown[]> =
  number extends Towers['length']
    ? (...args: (Tensor & LossOptions)[]) => Tensor
    : {
        /** The loss of the representations of each tower, and of keyword arguments. */
        loss(...args: [...{ -readonly [Tower in keyof Towers]: Tensor }, LossOptions]): Tensor;
      }['loss'];

/** The option `loss` of {@link GradCache}. */
export type Loss<Towers extends readonly unknown[] = readonly unknown[]> =
  LossFunction<Towers> | LossWithGradients;

/** @throws GradCacheError `INPUT` unless it is a loss */
export function requireLoss(loss: unknown): void {
  const { compute, parameters } = (loss ?? {}) as Partial<LossWithGradients>;
  if (typeof loss === 'function' || (typeof compute === 'function' && typeof parameters === 'function'))
    return;
  throw refused(
    'loss',
    loss,
    'infoNCE(), a function of the representations, or an object with compute() and parameters()',
  );
}

/** @throws GradCacheError `INPUT` for a loss of several layers inside one that cuts or compares rows as those of one layer */
export function requireOneLayer(name: string, { layers }: LossWithGradients): void {
  if (layers !== undefined)
    throw refused(
      'layers of the loss',
      layers,
      `none inside of ${name}, which takes the rows of one layer; adaptiveLayer is for the outside,`,
    );
}

/** @throws GradCacheError `INPUT` unless they are keyword arguments of a loss */
export function requireLossOptions(name: string, options: unknown): asserts options is LossOptions {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw refused(name, options, 'an object of keyword arguments');
}

/** What the `checkOptions` of every loss checks first. @throws GradCacheError `INPUT` */
export function requireCheckable(options: unknown, rows: unknown): asserts options is LossOptions {
  requireLossOptions('the options of the loss', options);
  if (!Array.isArray(rows) || !rows.every((count) => isNumber(count, { from: 0, whole: true })))
    throw refused('rows', rows, 'a list with the number of rows of each tower');
}

/** @throws GradCacheError `INPUT` unless it is a list of tensors */
export function requireTowers(representations: unknown): asserts representations is readonly Tensor[] {
  if (!Array.isArray(representations) || !representations.every((tensor) => tensor instanceof Tensor))
    throw refused('the representations', representations, 'a list with a Tensor for each tower');
}

/** That the gradients of all towers are wanted, where a caller does not say. @throws GradCacheError `INPUT` */
export function allTrained(representations: unknown): boolean[] {
  requireTowers(representations);
  return representations.map(() => true);
}

/** The representations as leaves of a graph, whose gradients those of `trained` towers get. The caller disposes them. */
export function leavesOf(representations: readonly Tensor[], trained: readonly boolean[]): Tensor[] {
  return noGrad(() =>
    representations.map((tensor, tower) => {
      const leaf = tensor.detach();
      leaf.requiresGrad = trained[tower] === true;
      return leaf;
    }),
  );
}

/** Undoes what several losses have added, the last one's first. */
export function undoAll(undos: readonly LossGradients['undo'][]): NonNullable<LossGradients['undo']> {
  return {
    restore: () => {
      for (const undo of [...undos].reverse()) undo?.restore();
    },
    dispose: () => {
      for (const undo of undos) undo?.dispose();
    },
  };
}

/** Turns a loss function into a loss that computes its own gradients. */
export function withGradients<Towers extends readonly unknown[]>(loss: Loss<Towers>): LossWithGradients {
  return typeof loss === 'function' ? new FunctionLoss(loss) : loss;
}

class FunctionLoss implements LossWithGradients {
  readonly packed = true;
  readonly #loss: (...args: unknown[]) => unknown;

  constructor(loss: (...args: never[]) => unknown) {
    this.#loss = loss as (...args: unknown[]) => unknown;
  }

  parameters(): Parameter[] {
    return [];
  }

  async value(representations: readonly Tensor[], options: LossOptions): Promise<number> {
    const root = tidy(() =>
      requireNumber(noGrad(() => synchronous('the loss', this.#loss(...representations, options)))),
    );
    try {
      const loss = Number((await root.values())[0]);
      requireFinite(loss);
      return loss;
    } finally {
      root.dispose();
    }
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
  ): Promise<LossGradients> {
    const leaves = leavesOf(representations, trained);
    let root: Tensor | undefined;
    let undo: LossGradients['undo'];
    try {
      root = tidy(() => scalar(withGrad(() => synchronous('the loss', this.#loss(...leaves, options)))));
      const loss = Number((await root.values())[0]); // off the event loop, unlike item()
      requireFinite(loss);
      undo = await undoOf(root, leaves);
      const seed = call('aten::full_like', root, weight);
      await backward([root], [seed]).finally(() => {
        seed.dispose();
      });
      const gradients = leaves.map((leaf, tower) => {
        const { grad } = leaf;
        if (grad === null && trained[tower] === true)
          throw new GradCacheError(
            'INPUT',
            `the loss does not depend on the representations of tower ${tower}`,
          );
        return grad;
      });
      return { loss, gradients, undo };
    } catch (error) {
      undo?.restore();
      undo?.dispose();
      throw error;
    } finally {
      root?.dispose();
      for (const leaf of leaves) leaf.dispose();
    }
  }
}

/** Saves the gradients of the tensors that a loss function reaches besides the representations. */
async function undoOf(root: Tensor, representations: readonly Tensor[]): Promise<GradientSnapshot> {
  const before = await GradientSnapshot.take(representations);
  try {
    await before.addBelow(root);
    return before;
  } catch (error) {
    before.dispose();
    throw error;
  }
}

function scalar(value: unknown): Tensor {
  const tensor = requireNumber(value);
  if (!tensor.requiresGrad)
    throw new GradCacheError('INPUT', 'the loss does not depend on the representations');
  return tensor;
}

/** @throws GradCacheError `INPUT`, `SHAPE` unless it is a tensor of one number */
function requireNumber(value: unknown): Tensor {
  if (!(value instanceof Tensor)) throw new GradCacheError('INPUT', 'a loss must return a Tensor');
  if (value.size !== 1) {
    throw new GradCacheError(
      'SHAPE',
      `the loss is a tensor of shape [${value.shape.join()}]; one number is needed`,
    );
  }
  return value;
}

/** @param dtype of the representations, whose gradients overflow with the loss @throws GradCacheError `NON_FINITE` */
export function requireFinite(loss: number, dtype?: string): void {
  if (!Number.isFinite(dtype === 'float32' ? Math.fround(loss) : loss)) {
    throw new GradCacheError(
      'NON_FINITE',
      `the loss is ${loss}. No gradient was added. Look for a learning rate that is too high, a temperature that is too low, ` +
        'or representations of length zero',
    );
  }
}
