import { checkKnown } from '../options/known-options.js';
import { requireOneOf } from '../options/option-values.js';
import { cycleAt, requireRestarts, type Restarts } from '../optim/restarts.js';
import {
  SYNTHETIC_OPTIONS,
  syntheticGradients,
  type SyntheticGradients,
  type SyntheticOptions,
} from './synthetic.js';

/** Options of {@link alternating}. */
export interface AlternatingOptions extends SyntheticOptions {
  /** When the run changes from real to synthetic gradients and back; give {@link restartSchedule} the same. */
  readonly restarts: Restarts;
  /** What real gradients are. `'none'` (default, as published): none across segments. `'exact'`: the exact ones. */
  readonly real?: 'none' | 'exact';
}

/** Real and synthetic gradients in turn; see {@link alternating}. */
export interface AlternatingGradients {
  /** What it is. */
  readonly kind: 'alternating';
  /** When they change. */
  readonly restarts: Restarts;
  /** What real gradients are. */
  readonly real: 'none' | 'exact';
  /** How gradients are predicted. */
  readonly synthetic: SyntheticGradients;
}

/**
 * Real and synthetic gradients in turn (Shang and Zhang 2019): real ones first, the others from each restart on. The
 * synthesiser learns in both phases, in a real one from the gradient that the real backward brings to the state.
 *
 * @throws GradCacheError `INPUT`
 * @example
 * ```ts
 * const training = new AcrossSegments(languageModel, { across: alternating({ restarts: { first: 100 } }) });
 * ```
 */
export function alternating(options: AlternatingOptions): AlternatingGradients {
  checkKnown('alternating', options, ['restarts', 'real', ...SYNTHETIC_OPTIONS]);
  const { restarts, real = 'none', ...synthetic } = options;
  requireRestarts('restarts of alternating', restarts);
  requireOneOf('real of alternating', real, ['none', 'exact']);
  return { kind: 'alternating', restarts, real, synthetic: syntheticGradients(synthetic) };
}

/** Whether a step, counted from 0, has synthetic gradients. */
export function isSynthetic({ restarts }: AlternatingGradients, step: number): boolean {
  return cycleAt(restarts, step).index % 2 === 1;
}
