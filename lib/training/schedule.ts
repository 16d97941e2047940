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
