import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { callAsync } from '../tensor/operators.js';
import type { Parameter } from '../tensor/tensor.js';
import type { OptimizerKind } from './optimizer-kind.js';
import { SlotOptimizer, type StateTensors, type Update } from './slot-optimizer.js';
import type { ParameterGroup } from './slots.js';

/** Settings of {@link AdamW}; the defaults are those of `torch.optim.AdamW`. */
export interface AdamWOptions {
  /** Learning rate. */
  readonly lr: number;
  /** Decay rates of the running mean and of the running mean of squares. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the denominator. Default 1e-8. */
  readonly eps?: number;
  /** Decoupled weight decay of parameters whose `decay` is true (weights, not biases or norms). Default 0.01. */
  readonly weightDecay?: number;
  /** Gradients are scaled so that their global 2-norm is at most this. Default: no clipping. */
  readonly maxGradNorm?: number;
}

/** Running means of a parameter's gradient and of its square. */
const STATE = { exp_avg: 'like', exp_avg_sq: 'like', step: 'count' } as const satisfies StateTensors<string>;

/**
 * AdamW (Loshchilov and Hutter 2019) with ATen's fused kernel, on any device.
 *
 * ```ts
 * const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5, maxGradNorm: 1 });
 * await gradcache.step(inputs);
 * const { gradNorm } = await optimizer.step();
 * ```
 */
export class AdamW extends SlotOptimizer<keyof typeof STATE> {
  /**
   * @param parameters what to update: `gradcache.parameters()`, `encoder.parameters()`, or groups with their own settings
   * @throws GradCacheError `INPUT` for a setting out of range, no parameters, or a parameter given twice
   */
  constructor(parameters: Iterable<Parameter> | readonly ParameterGroup[], options: AdamWOptions) {
    checkKnown('AdamW', options, ['lr', 'betas', 'eps', 'weightDecay', 'maxGradNorm']);
    const { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, maxGradNorm = Infinity } = options;
    requireRates('betas of AdamW', betas);
    requireNumber('eps of AdamW', eps, { above: 0 });
    const [beta1, beta2] = betas;
    const update = (alike: Update<keyof typeof STATE>) => fusedAdamW(alike, { beta1, beta2, eps });
    super({ name: 'AdamW', state: STATE, update }, parameters, { lr, weightDecay, maxGradNorm });
  }
}

async function fusedAdamW(
  {
    parameters,
    gradients,
    state: { exp_avg, exp_avg_sq, step },
    lr,
    weightDecay,
  }: Update<keyof typeof STATE>,
  rates: { readonly beta1: number; readonly beta2: number; readonly eps: number },
): Promise<void> {
  const how = { ...rates, lr, weight_decay: weightDecay, amsgrad: false, maximize: false };
  await callAsync('aten::_foreach_add_.Scalar', step, 1);
  await callAsync('aten::_fused_adamw_', parameters, gradients, exp_avg, exp_avg_sq, [], step, how);
}

/** @throws GradCacheError `INPUT` unless it is the decay rates of two running means */
export function requireRates(name: string, betas: unknown): asserts betas is readonly [number, number] {
  const isRate = (beta: unknown) => typeof beta === 'number' && beta >= 0 && beta < 1;
  if (Array.isArray(betas) && betas.length === 2 && betas.every(isRate)) return;
  throw refused(name, betas, 'a list of two numbers from 0 up to, not including, 1');
}

/** AdamW in a configuration. */
export interface AdamWSettings {
  /** Default 2e-5. */
  readonly lr: number;
  /** Default [0.9, 0.999]. */
  readonly betas: readonly [number, number];
  /** Default 1e-8. */
  readonly eps: number;
  /** Default 0.01; biases and norms never decay. */
  readonly weightDecay: number;
  /** Default 1. */
  readonly maxGradNorm: number;
}

/** AdamW in `train`. */
export const adamWKind: OptimizerKind<AdamWSettings> = {
  about: 'Adam with decoupled weight decay',
  settings: {
    lr: { kind: 'number', above: 0, default: 2e-5, flag: 'lr', help: 'learning rate; default 2e-5' },
    betas: {
      kind: 'numbers',
      count: 2,
      from: 0,
      to: 0.999999,
      default: [0.9, 0.999],
      help: 'decay rates of the means of gradients and of their squares; default 0.9,0.999',
    },
    eps: { kind: 'number', above: 0, default: 1e-8, help: 'added to the denominator; default 1e-8' },
    weightDecay: { kind: 'number', from: 0, default: 0.01, flag: 'weight-decay', help: 'default 0.01' },
    maxGradNorm: { kind: 'number', above: 0, default: 1, flag: 'max-grad-norm', help: 'default 1' },
  },
  make: (parameters, { lr, betas, eps, weightDecay, maxGradNorm }) =>
    new AdamW(parameters, { lr, betas, eps, weightDecay, maxGradNorm }),
};
