import type { RunLength } from './run-length.js';
import { SettingError } from '../options/fields.js';
import { constantSchedule, cosineSchedule, linearSchedule, type Schedule } from '../optim/schedules.js';

/** What a schedule needs of a configuration. */
interface Scheduled {
  readonly schedule: { readonly kind: 'linear' | 'cosine' | 'constant'; readonly warmup: number };
  readonly optimizer: { readonly lr: number };
}

/**
 * The learning rate of each update of a run.
 *
 * @param steps updates in all
 * @throws GradCacheError `INPUT` for a warm-up that is longer than the run
 */
export function scheduleOf(
  { schedule: { kind, warmup: given }, optimizer: { lr } }: Scheduled,
  steps: number,
): Schedule {
  // A part is rounded up, as transformers does: a short run has a warm-up too.
  const warmup = given < 1 ? Math.ceil(given * steps) : given;
  if (warmup > steps) {
    throw new SettingError(
      'config.schedule.warmup',
      `is ${warmup}, but the run has ${steps} step${steps === 1 ? '' : 's'}: give at most as many, or a part of them below 1.`,
    );
  }
  if (kind === 'constant') return constantSchedule({ lr, warmup });
  return (kind === 'cosine' ? cosineSchedule : linearSchedule)({ lr, warmup, total: steps });
}

/** The learning rate of each update of a run, from 0; some wait until its length is known. */
export type AwaitedSchedule = (update: number) => number | Promise<number>;

/**
 * The schedule of a run whose length may still be counted: no learning rate depends on it before the end of a warm-up that is a
 * number of steps.
 *
 * @throws GradCacheError as {@link scheduleOf}
 */
export function scheduleOver(config: Scheduled, length: RunLength): AwaitedSchedule {
  if (length.known !== null) return scheduleOf(config, length.known);
  const { kind, warmup } = config.schedule;
  const begin = constantSchedule({ lr: config.optimizer.lr, warmup });
  return (update) =>
    kind === 'constant' || update < warmup
      ? begin(update)
      : length.total().then((steps) => scheduleOf(config, steps)(update));
}
