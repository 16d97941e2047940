/*
 * Held-out pairs of sentences, for a text encoder and a cross-encoder. What cannot be measured is refused when it is read: the first
 * measurement may come when all has been trained.
 */
import { requireBinaryTask, type BinaryTask } from '../../evaluation/binary.js';
import { requireStsTask, type StsTask } from '../../evaluation/sts.js';
import { binaryPairs, sentencePairs, type TaskOptions } from '../../evaluation/tasks.js';
import { GradCacheError } from '../../errors.js';
import { settingNamesOf, type NamedSet } from '../held-out-sets.js';

/** Sentences with scores. @throws GradCacheError `INPUT` for a file that cannot be read, and for fewer than 2 rows */
export async function readScoredPairs({ name, set }: NamedSet, how: TaskOptions): Promise<StsTask> {
  const task = await sentencePairs(set.data!, how, settingNamesOf(name));
  return checked(set.data!, task, requireStsTask);
}

/** Sentences with labels. @throws GradCacheError `INPUT` for a file that cannot be read, and for labels of one kind alone */
export async function readLabelledPairs({ name, set }: NamedSet, how: TaskOptions): Promise<BinaryTask> {
  const task = await binaryPairs(set.data!, how, settingNamesOf(name));
  return checked(set.data!, task, requireBinaryTask);
}

function checked<Task>(file: string, task: Task, check: (task: Task) => void): Task {
  try {
    check(task);
    return task;
  } catch (error) {
    throw new GradCacheError('INPUT', `${file}: ${(error as Error).message}`, { cause: error });
  }
}
