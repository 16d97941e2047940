import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import {
  requireLossOptions,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from '../losses/loss.js';
import { throwIfAborted } from '../options/abort.js';
import { checkKnown } from '../options/known-options.js';
import { refused } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { putRows, takeRows } from '../tensor/rows.js';
import { Tensor } from '../tensor/tensor.js';
import type { StepOptions, StepResult } from './gradcache-options.js';
import type { RepresentationCache } from './representation-cache.js';
import type { Curate, Drawn } from './verdict.js';

/** The options of a step for one of its batches. */
export interface Attempt extends Omit<StepOptions, 'loss'> {
  readonly loss: LossOptions | undefined;
  /** Batches refused before. */
  readonly redrawn: number;
}

/** An attempt with counts that the step's result repeats. */
export type CountedAttempt = Attempt & Pick<StepResult, 'truncated' | 'retries'>;

/**
 * Runs attempts of a step with new batches until one is accepted.
 *
 * @param attempt runs one; null: the batch was refused
 * @throws GradCacheError `INPUT` if a batch is refused and there is no `redraw`, or it gives no batch; `ABORTED`
 */
export async function untilAccepted<T>(
  batches: readonly never[],
  options: StepOptions,
  attempt: (batches: readonly never[], options: Attempt) => Promise<T | null>,
): Promise<T> {
  let [drawn, loss] = [batches, options.loss];
  for (let redrawn = 0; ; redrawn++) {
    throwIfAborted(options.signal);
    const result = await attempt(drawn, { ...options, loss, redrawn });
    if (result !== null) return result;
    if (options.redraw === undefined)
      throw new GradCacheError(
        'INPUT',
        'curate refused the batch, and the step has no other: give step the option redraw, a function that returns { inputs }',
      );
    ({ drawn, loss } = await another(options.redraw));
  }
}

async function another(
  redraw: NonNullable<StepOptions['redraw']>,
): Promise<{ drawn: readonly never[]; loss: LossOptions | undefined }> {
  const given: unknown = await redraw();
  const { inputs, loss } = (given ?? {}) as Partial<Drawn>;
  if (!Array.isArray(inputs)) throw refused('what redraw returned', given, '{ inputs, loss? }');
  checkKnown('what redraw returned', given, ['inputs', 'loss']);
  if (loss !== undefined) requireLossOptions('the loss that redraw returned', loss);
  return { drawn: (await Promise.all(inputs as readonly unknown[])) as never[], loss };
}

/** Rows of each tower that the loss sees, and its keyword arguments. */
interface Kept {
  readonly rows: readonly Int32Array[];
  readonly loss: LossOptions | undefined;
}

/**
 * Asks for the verdict on a batch.
 *
 * @param loss the keyword arguments of the step's loss
 * @returns null for all rows
 * @throws GradCacheError `INPUT` for a verdict that is none, or does not suit the batch; errors of `curate` pass through
 */
export async function judge(
  curate: Curate | undefined,
  cache: RepresentationCache,
  { redrawn, loss = {} }: Attempt,
): Promise<'redraw' | Kept | null> {
  if (curate === undefined) return null;
  const towers = cache.towers();
  const verdict: unknown = await curate(towers, { redrawn });
  if (verdict === 'redraw') return 'redraw';
  if (verdict === 'accept') return null;
  if (typeof verdict !== 'object' || verdict === null || Array.isArray(verdict))
    throw refused('the verdict of curate', verdict, "'accept', 'redraw' or { keep: rows }");
  checkKnown('the verdict of curate', verdict, ['keep', 'loss']);
  const several = towers.findIndex((_, tower) => cache.offsets(tower) !== null);
  if (several >= 0)
    throw new GradCacheError(
      'INPUT',
      `tower ${several} has several representations a row: curate accepts or refuses such a batch as a whole, and cannot ` +
        'keep some of its rows',
    );
  const { keep, loss: instead } = verdict as { readonly keep?: unknown; readonly loss?: LossOptions };
  if (instead !== undefined) requireLossOptions('the loss that curate returned', instead);
  if (instead === undefined && Object.keys(loss).length > 0)
    throw new GradCacheError(
      'INPUT',
      `the step gives the loss ${Object.keys(loss).join(', ')} for all rows, and curate keeps some: its verdict must give ` +
        'the keyword arguments for these rows, { keep, loss }',
    );
  return { rows: rowsOf(keep, towers), loss: instead };
}

function rowsOf(keep: unknown, towers: readonly Tensor[]): Int32Array[] {
  const counts = towers.map(({ shape }) => shape[0]!);
  const apart = Array.isArray(keep) && keep.some((each) => Array.isArray(each) || types.isInt32Array(each));
  if (apart && (keep as unknown[]).length !== towers.length)
    throw refused('keep', keep, `a list of rows for each of ${towers.length} towers`);
  if (!apart && new Set(counts).size > 1)
    throw new GradCacheError(
      'INPUT',
      `the towers have ${counts.join(', ')} rows, and keep is one list for all: give a list for each`,
    );
  return counts.map((count, tower) => {
    const list: unknown = apart ? (keep as unknown[])[tower] : keep;
    if (!Array.isArray(list) && !types.isInt32Array(list)) throw refused('keep', list, 'a list of rows');
    const rows = Array.from(list as ArrayLike<unknown>);
    if (rows.length === 0)
      throw new GradCacheError('INPUT', `keep leaves no row of tower ${tower}: draw another batch instead`);
    for (const row of rows)
      if (!Number.isInteger(row) || (row as number) < 0 || (row as number) >= count)
        throw refused('a row in keep', row, `a row of the ${count} of tower ${tower}`);
    if (new Set(rows).size < rows.length)
      throw new GradCacheError('INPUT', `keep has a row of tower ${tower} twice`);
    return Int32Array.from(rows as number[]);
  });
}

/** The loss of some rows of each tower. The gradient of the others is zero. */
export class LossOfRows implements LossWithGradients {
  readonly #loss: LossWithGradients;
  readonly #rows: readonly Int32Array[];

  constructor(loss: LossWithGradients, rows: readonly Int32Array[]) {
    this.#loss = loss;
    this.#rows = rows;
  }

  parameters(): ReturnType<LossWithGradients['parameters']> {
    return this.#loss.parameters();
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
  ): Promise<LossGradients> {
    const taken = representations.map((tensor, tower) => takeRows(tensor, this.#rows[tower]!));
    try {
      const result = await this.#loss.compute(taken, weight, options, trained);
      // A wrong result is refused by the cache, as that of any loss.
      if (!Array.isArray(result?.gradients)) return result;
      try {
        const gradients = result.gradients.map((gradient: Tensor | null, tower) =>
          this.#spread(gradient, tower, representations),
        );
        return { ...result, gradients };
      } catch (error) {
        result.undo?.restore();
        result.undo?.dispose();
        throw error;
      }
    } finally {
      for (const tensor of taken) tensor.dispose();
    }
  }

  /** The gradient of some rows as that of all rows. */
  #spread(gradient: Tensor | null, tower: number, representations: readonly Tensor[]): Tensor | null {
    if (!(gradient instanceof Tensor)) return gradient;
    const all: Tensor = noGrad(() => call('aten::zeros_like', representations[tower]!));
    putRows(all, this.#rows[tower]!, gradient);
    gradient.dispose();
    return all;
  }
}
