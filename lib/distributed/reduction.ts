import { checkKnown } from '../options/known-options.js';
import { requireBoolean, requireCount, requireOneOf } from '../options/option-values.js';

/** How ranks add up the gradients of a step. */
export interface Reduction {
  /**
   * `'own'` (default): in the type of the gradients, exactly. `'bfloat16'`: rounded to it, which halves what is sent. Every term
   * and every sum is then off by at most 1/512 of itself. With `accumulate` sums of earlier steps are rounded again by each step.
   */
  readonly type?: 'own' | 'bfloat16';
  /**
   * Whether gradients are added up while the backward pass still runs, over a network that takes as long as the pass: those of an
   * encoder whose towers are done, and those of layers that the last chunk's backward has left. Over two ranks the result is the
   * same, over more sums are rounded in another order. Default false.
   */
  readonly overlap?: boolean;
  /** With `overlap`, at most so many bytes are sent at a time; the same on all ranks. Default 32 MiB. */
  readonly bucket?: number;
}

export const DEFAULT_BUCKET = 2 ** 25;

/** @throws GradCacheError `INPUT` */
export function requireReduction(name: string, reduction: unknown): asserts reduction is Reduction {
  checkKnown(name, reduction, ['type', 'overlap', 'bucket']);
  const { type = 'own', overlap = false, bucket = DEFAULT_BUCKET } = reduction as Record<string, unknown>;
  requireOneOf(`type of ${name}`, type, ['own', 'bfloat16']);
  requireBoolean(`overlap of ${name}`, overlap);
  requireCount(`bucket of ${name}`, bucket, 64);
}
