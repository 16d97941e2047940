/**
 * What the optimizers of Adam's kind share (Kingma and Ba 2015): two running means of a parameter's gradients, the settings
 * of these, and their defaults.
 */
import type { Ranks } from '../distributed/ranks.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import type { SettingTable } from '../options/setting-table.js';
import type { MasterWeights, SlotOptimizerOptions, Update } from './slot-optimizer-parts.js';
import type { StateTensors } from './slots.js';

/** Settings that the optimizers share. */
export interface AdamOptions {
  /** Learning rate. */
  readonly lr: number;
  /** Decay rates of the running mean and of the running mean of squares. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the denominator. Default 1e-8. */
  readonly eps?: number;
  /** Decoupled weight decay of parameters whose `decay` is true (weights, not biases or norms). */
  readonly weightDecay?: number;
  /** Gradients are scaled so that their global 2-norm is at most this. Default: no clipping. */
  readonly maxGradNorm?: number;
  /**
   * Divides the update and its state over these ranks (ZeRO's first stage): each rank keeps the state of its share of the weights,
   * updates these, and receives the others. The weights are those of the undivided update. {@link GradCache.step} then adds up the
   * gradients of native models to shares: what `tensor.grad` holds beside a rank's own share is not the sum. All ranks make the
   * same calls of `step` and `state`, with the same parameters. Default: every rank keeps the whole state.
   */
  readonly ranks?: Ranks | null | undefined;
  /**
   * How weights are updated that are kept in bfloat16 (`weights: 'bfloat16'` of {@link TextEncoderOptions}), of which an update that
   * is rounded to the nearest loses what is small. `'host'`: float32 copies and the moments lie in the memory of the host, whose
   * processor makes the update; the copies begin as the weights are. `'none'`: the moments are float32 beside the weights, which are
   * updated in float32, some tensors at a time, and rounded by chance: to one of the two neighbours, the nearer the likelier, so that the
   * mean of the result is the result in float32. Not with `ranks`. Default: no weights of bfloat16 with float32 gradients.
   */
  readonly masterWeights?: MasterWeights | undefined;
  /** Of the rounding by chance, which only `masterWeights: 'none'` has. Default 0. */
  readonly seed?: number | undefined;
}

/** Running means of a parameter's gradient and of its square, and how many updates they are of. */
export const ADAM_STATE = {
  exp_avg: 'like',
  exp_avg_sq: 'like',
  step: 'count',
} as const satisfies StateTensors<string>;

export type AdamState = keyof typeof ADAM_STATE;
export type AdamUpdate = Update<AdamState>;

/** What an update needs beside what every optimizer has. */
export interface AdamRates {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
}

/**
 * Checks options and fills in what is missing.
 *
 * @param name the optimizer, for messages
 * @param otherwise the weight decay where none is given
 * @throws GradCacheError `INPUT`
 */
export function readAdamOptions(
  name: string,
  options: AdamOptions,
  otherwise: number,
): { readonly rates: AdamRates; readonly settings: SlotOptimizerOptions } {
  checkKnown(name, options, [
    'lr',
    'betas',
    'eps',
    'weightDecay',
    'maxGradNorm',
    'ranks',
    'masterWeights',
    'seed',
  ]);
  const { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = otherwise } = options;
  const { maxGradNorm = Infinity, ranks, masterWeights, seed } = options;
  requireRates(`betas of ${name}`, betas);
  requireNumber(`eps of ${name}`, eps, { above: 0 });
  const [beta1, beta2] = betas;
  return {
    rates: { beta1, beta2, eps },
    settings: { lr, weightDecay, maxGradNorm, ranks, masterWeights, seed },
  };
}

/** @throws GradCacheError `INPUT` unless it is the decay rates of two running means */
function requireRates(name: string, betas: unknown): asserts betas is readonly [number, number] {
  const isRate = (beta: unknown) => typeof beta === 'number' && beta >= 0 && beta < 1;
  if (Array.isArray(betas) && betas.length === 2 && betas.every(isRate)) return;
  throw refused(name, betas, 'a list of two numbers from 0 up to, not including, 1');
}

/** The settings in a configuration. */
export interface AdamSettings {
  readonly lr: number;
  /** Default [0.9, 0.999]. */
  readonly betas: readonly [number, number];
  /** Default 1e-8. */
  readonly eps: number;
  /** Biases and norms never decay. */
  readonly weightDecay: number;
  /** Default 1. */
  readonly maxGradNorm: number;
}

/** The settings as `train` knows them, with an optimizer's own defaults. */
export function adamSettings({
  lr,
  weightDecay,
}: Pick<AdamSettings, 'lr' | 'weightDecay'>): SettingTable<AdamSettings> {
  return {
    lr: {
      kind: 'number',
      above: 0,
      default: lr,
      flag: 'lr',
      help: `learning rate; default ${lr.toExponential()}`,
    },
    betas: {
      kind: 'numbers',
      count: 2,
      from: 0,
      to: 0.999999,
      default: [0.9, 0.999],
      help: 'decay rates of the means of gradients and of their squares; default 0.9,0.999',
    },
    eps: { kind: 'number', above: 0, default: 1e-8, help: 'added to the denominator; default 1e-8' },
    weightDecay: {
      kind: 'number',
      from: 0,
      default: weightDecay,
      flag: 'weight-decay',
      help: `default ${weightDecay}`,
    },
    maxGradNorm: { kind: 'number', above: 0, default: 1, flag: 'max-grad-norm', help: 'default 1' },
  };
}
