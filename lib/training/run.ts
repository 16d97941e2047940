import { makeOptimizer } from '../optim/optimizer-kinds.js';
import type { Ranks } from '../distributed/ranks.js';
import type { NarrowUpdates } from '../optim/optimizer-kind.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { AwaitedSchedule } from './schedule.js';
import type { FilledTrainConfig } from './read-config.js';
import { requireSameOrder } from './data-order.js';
import { kindOf } from '../losses/loss-kinds.js';
import { openCrossEncoderObjective } from './objectives/cross-encoder.js';
import { openContrastive } from './objectives/contrastive.js';
import type { Objective } from './objectives/objective.js';
import type { OnBadPicture } from './objectives/picture-batches.js';
import { openPictures } from './objectives/pictures.js';
import type { Resumed } from './resume.js';
import { SettingError } from '../options/fields.js';
import type { RunObjects } from './objects.js';
import { scheduleOver } from './schedule.js';
import type { RunLength } from './run-length.js';

/** The parts of a training run, made from its configuration and, when it is resumed, from a checkpoint. */
export interface Run {
  readonly objective: Objective;
  readonly optimizer: Optimizer;
  readonly schedule: AwaitedSchedule;
  readonly length: RunLength;
  /** Updates made before. */
  readonly done: number;
  /** Whether held-out data is still to be measured after the last of those. */
  readonly unmeasured: boolean;
  /** The checkpoint folder that the run goes on from. */
  readonly resumed: string | null;
}

/**
 * Makes the parts of a run.
 *
 * @param resumed the checkpoint that the run goes on from, or null
 * @param ranks the processes that take each step together, or null
 * @param objects what the program gave in place of settings
 * @param onBadPicture told of pictures that are passed over
 * @throws GradCacheError `INPUT` when the checkpoint was made from other data or settings that order it
 */
export async function openRun(
  config: FilledTrainConfig,
  length: RunLength,
  resumed: Resumed | null,
  ranks: Ranks | null,
  objects: RunObjects,
  onBadPicture: OnBadPicture,
): Promise<Run> {
  if (resumed !== null) await requireSameOrder(resumed, config);
  const schedule = scheduleOver(config, length);
  const { pairs } = kindOf(config.loss);
  if (pairs !== undefined && objects.model !== null)
    throw new SettingError(
      'config.model',
      `is an encoder of the program, and the loss ${config.loss.kind} trains a cross-encoder, which the run opens: give its folder.`,
    );
  if (pairs !== undefined && Object.keys(objects.evaluators).length > 0)
    throw new SettingError(
      'config.evaluation.evaluators',
      `measure a text encoder, and the loss ${config.loss.kind} trains a cross-encoder: name held-out data (data, sets) in their place.`,
    );
  const own = ranks === null ? config : { ...config, device: ranks.device };
  const objective = await openObjective();
  let optimizer: Optimizer | undefined;
  try {
    optimizer = makeOptimizer(
      objective.parameters(),
      config.optimizer,
      config.divideOptimizer ? ranks : null,
      narrowUpdates(config),
    );
    if (resumed !== null) optimizer.loadState(resumed.checkpoint.optimizer);
  } catch (error) {
    optimizer?.dispose();
    objective.dispose();
    throw error;
  }
  const { step: done = 0, unmeasured = false } = resumed?.checkpoint.state ?? {};
  return { objective, optimizer, schedule, length, done, unmeasured, resumed: resumed?.folder ?? null };

  function openObjective(): Promise<Objective> {
    if (config.images !== undefined) return openPictures(own, resumed, ranks, objects, onBadPicture);
    if (pairs !== undefined) return openCrossEncoderObjective(own, pairs, resumed, ranks);
    return openContrastive(own, resumed, ranks, objects);
  }
}

/** How weights of bfloat16 are updated, or null where there are none. */
function narrowUpdates({ masterWeights, seed }: FilledTrainConfig): NarrowUpdates | null {
  if (masterWeights === 'device') return null;
  return masterWeights === 'none' ? { masterWeights, seed } : { masterWeights };
}
