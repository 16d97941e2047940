import { checkKnown } from '../options/known-options.js';
import { requireCount } from '../options/option-values.js';

/** How the greatest length of texts grows. */
export interface LengthCurriculumOptions {
  /** The greatest length of the first batch, in tokens. */
  readonly from: number;
  /** The greatest length in the end. */
  readonly to: number;
  /** The number of batches in which it grows, each by the same amount. */
  readonly over: number;
}

/**
 * A greatest length of texts that grows with the number of the batch. Short texts first make early steps cheap; batches that
 * are filled by tokens then hold more rows.
 *
 * @returns the greatest length in tokens of a batch, counted from 0
 * @throws GradCacheError `INPUT` for a wrong option
 * @example
 * ```ts
 * const length = lengthCurriculum({ from: 16, to: 128, over: 1000 });
 * console.log(length(0), length(1000)); // the most tokens of a text: 16 in the first batch, 128 from the 1000th on
 * ```
 */
export function lengthCurriculum(options: LengthCurriculumOptions): (batch: number) => number {
  checkKnown('lengthCurriculum', options, ['from', 'to', 'over']);
  const { from, to, over } = options;
  requireCount('from', from, 1);
  requireCount('to', to, from);
  requireCount('over', over, 1);
  return (batch) => from + Math.floor((to - from) * Math.min(1, batch / over));
}
