import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireNumber, show } from '../options/option-values.js';
import { plural } from '../options/plural.js';

/** The learning rate of each step: called with the number of updates made so far, from 0. */
export type Schedule = (step: number) => number;

/** Options of a schedule. */
export interface ScheduleOptions {
  /** The highest learning rate, reached at the end of the warm-up. */
  readonly lr: number;
  /** Steps over which the rate rises linearly; the first step already has `lr / warmup`. Default 0. */
  readonly warmup?: number;
  /** Steps of the whole run, warm-up included. */
  readonly total: number;
  /** The learning rate from step `total` on. Default 0. */
  readonly final?: number;
}

const WITH_END = ['lr', 'warmup', 'total', 'final'];

/**
 * Linear warm-up, then a straight line from `lr` to `final` at step `total`.
 *
 * @example
 * ```ts
 * const schedule = linearSchedule({ lr: 2e-5, warmup: 100, total: 1000 });
 * optimizer.lr = schedule(step);
 * ```
 */
export function linearSchedule(options: ScheduleOptions): Schedule {
  checkKnown('linearSchedule', options, WITH_END);
  return withWarmup(options, (progress) => 1 - progress);
}

/**
 * Linear warm-up, then half a cosine wave from `lr` to `final` at step `total`.
 *
 * @example
 * ```ts
 * const schedule = cosineSchedule({ lr: 2e-5, warmup: 100, total: 1000 });
 * optimizer.lr = schedule(step);
 * ```
 */
export function cosineSchedule(options: ScheduleOptions): Schedule {
  checkKnown('cosineSchedule', options, WITH_END);
  return withWarmup(options, (progress) => (1 + Math.cos(Math.PI * progress)) / 2);
}

/**
 * Linear warm-up, then constant `lr`.
 *
 * @example
 * ```ts
 * const schedule = constantSchedule({ lr: 2e-5, warmup: 100 });
 * optimizer.lr = schedule(step);
 * ```
 */
export function constantSchedule(options: { lr: number; warmup?: number }): Schedule {
  checkKnown('constantSchedule', options, ['lr', 'warmup']);
  return withWarmup({ ...options, total: Infinity }, () => 1);
}

/** `decay` maps progress, from the end of the warm-up (0) to the end of the run (1), to a factor of `lr`. */
function withWarmup(options: ScheduleOptions, decay: (progress: number) => number): Schedule {
  const { lr, warmup = 0, total, final = 0 } = options;
  requireNumber('lr of a schedule', lr, { from: 0 });
  requireNumber('total of a schedule', total, { above: 0, infinite: true });
  requireCount('warmup of a schedule', warmup, 0);
  if (warmup > total)
    throw refused('warmup of a schedule', warmup, `at most the ${plural(total, 'step')} of the run`);
  requireNumber('final of a schedule', final, { from: 0, to: lr });
  return (step) => {
    if (typeof step !== 'number' || !(step >= 0))
      throw new GradCacheError(
        'INPUT',
        `A schedule was asked for step ${show(step)}; it takes a number from 0 up.`,
      );
    if (step < warmup) return (lr * (step + 1)) / warmup;
    if (step >= total) return final;
    const progress = total === Infinity ? 0 : (step - warmup) / (total - warmup);
    return final + (lr - final) * decay(progress);
  };
}
