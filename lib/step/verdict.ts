import type { LossOptions } from '../losses/loss.js';
import type { Tensor } from '../tensor/tensor.js';
import type { AnyEncoder, StepInputs } from './encoder.js';

/** Numbers of rows, each at most once. */
export type RowList = readonly number[] | Int32Array;

/**
 * What becomes of a batch: it is taken, another one is drawn, or only some of its rows are taken.
 *
 * `keep` lists rows, for towers that all have the same number of them, or gives a list for each tower. The loss then sees these
 * rows alone, in this order. If the step has keyword arguments of the loss, `loss` replaces them: theirs count all rows. A batch
 * whose rows have several representations is taken or refused as a whole.
 */
export type Verdict =
  | 'accept'
  | 'redraw'
  | {
      /** The rows that stay. */
      readonly keep: RowList | readonly RowList[];
      /** Keyword arguments of the loss for them. */
      readonly loss?: LossOptions;
    };

/**
 * Judges a batch by its representations, one tensor [rows, dimension] for each tower, which belong to the step.
 *
 * @param batch.redrawn how many batches of this step it has refused already: it must accept one at some time
 */
export type Curate = (
  representations: readonly Tensor[],
  batch: { readonly redrawn: number },
) => Verdict | PromiseLike<Verdict>;

/** Another batch for a step. */
export interface Drawn<Encoders extends readonly AnyEncoder[] = readonly AnyEncoder[]> {
  /** One batch for each tower. */
  readonly inputs: StepInputs<Encoders>;
  /** Keyword arguments of the loss for this batch. Default: none. */
  readonly loss?: LossOptions;
}
