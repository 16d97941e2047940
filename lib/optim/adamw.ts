import { callAsync } from '../tensor/operators.js';
import type { Parameter } from '../tensor/tensor.js';
import { ADAM_STATE, adamSettings, readAdamOptions } from './adam.js';
import type { AdamOptions, AdamRates, AdamSettings, AdamState, AdamUpdate } from './adam.js';
import type { OptimizerKind } from './optimizer-kind.js';
import { SlotOptimizer } from './slot-optimizer.js';
import type { ParameterGroup } from './slots.js';

/** Settings of {@link AdamW}; the defaults are those of `torch.optim.AdamW`. */
export interface AdamWOptions extends AdamOptions {
  /** Decoupled weight decay of parameters whose `decay` is true (weights, not biases or norms). Default 0.01. */
  readonly weightDecay?: number;
}

/**
 * AdamW (Loshchilov and Hutter 2019) with ATen's fused kernel, on any device.
 *
 * ```ts
 * const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5, maxGradNorm: 1 });
 * await gradcache.step(inputs);
 * const { gradNorm } = await optimizer.step();
 * ```
 */
export class AdamW extends SlotOptimizer<AdamState> {
  /**
   * @param parameters what to update: `gradcache.parameters()`, `encoder.parameters()`, or groups with their own settings
   * @throws GradCacheError `INPUT` for a setting out of range, no parameters, or a parameter given twice
   */
  constructor(parameters: Iterable<Parameter> | readonly ParameterGroup[], options: AdamWOptions) {
    const { rates, settings } = readAdamOptions('AdamW', options, 0.01);
    const update = (alike: AdamUpdate) => fusedAdamW(alike, rates);
    super({ name: 'AdamW', state: ADAM_STATE, update }, parameters, settings);
  }
}

async function fusedAdamW(
  { parameters, gradients, state: { exp_avg, exp_avg_sq, step }, lr, weightDecay }: AdamUpdate,
  rates: AdamRates,
): Promise<void> {
  const how = { ...rates, lr, weight_decay: weightDecay, amsgrad: false, maximize: false };
  await callAsync('aten::_foreach_add_.Scalar', step, 1);
  await callAsync('aten::_fused_adamw_', parameters, gradients, exp_avg, exp_avg_sq, [], step, how);
}

/** AdamW in a configuration. */
export interface AdamWSettings extends AdamSettings {
  /** Default 2e-5. */
  readonly lr: number;
  /** Default 0.01; biases and norms never decay. */
  readonly weightDecay: number;
}

/** AdamW in `train`. */
export const adamWKind: OptimizerKind<AdamWSettings> = {
  about: 'Adam with decoupled weight decay',
  settings: adamSettings({ lr: 2e-5, weightDecay: 0.01 }),
  make: (parameters, { lr, betas, eps, weightDecay, maxGradNorm }, ranks, narrow) =>
    new AdamW(parameters, { lr, betas, eps, weightDecay, maxGradNorm, ranks, ...narrow }),
};
