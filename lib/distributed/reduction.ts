import { checkKnown } from '../options/known-options.js';
import { requireBoolean, requireOneOf } from '../options/option-values.js';

/** How ranks add up the gradients of a step. */
export interface Reduction {
  /**
   * `'own'` (default): in the type of the gradients, exactly. `'bfloat16'`: rounded to it, which halves what is sent. Every term
   * and every sum is then off by at most 1/512 of itself. With `accumulate` sums of earlier steps are rounded again by each step.
   */
  readonly type?: 'own' | 'bfloat16';
  /**
   * Whether the gradients of one encoder are added up while the backward pass of another still runs: for towers with encoders of
   * their own, over a network that takes as long as the pass. The result is the same. Default false.
   */
  readonly overlap?: boolean;
}

/** @throws GradCacheError `INPUT` */
export function requireReduction(name: string, reduction: unknown): asserts reduction is Reduction {
  checkKnown(name, reduction, ['type', 'overlap']);
  const { type = 'own', overlap = false } = reduction as { type?: unknown; overlap?: unknown };
  requireOneOf(`type of ${name}`, type, ['own', 'bfloat16']);
  requireBoolean(`overlap of ${name}`, overlap);
}
