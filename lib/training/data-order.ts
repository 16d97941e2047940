import { stat } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { show } from '../options/option-values.js';
import type { FilledTrainConfig } from './read-config.js';
import { otherRun } from './resume-settings.js';
import type { Resumed } from './resume.js';

/** The settings that decide which rows are in which batch. The rows themselves are compared while they are read. */
export function dataOrder({
  columns,
  batch,
  seed,
  shuffle,
  uniqueTexts,
  curriculum,
  label,
  groupByLabel,
  datasets,
  mixing,
  lists,
  images,
}: FilledTrainConfig): Record<string, unknown> {
  return {
    columns,
    batch,
    seed,
    shuffle,
    uniqueTexts,
    ...(curriculum && { curriculum }),
    ...(label !== undefined && { label }),
    ...(groupByLabel && { groupByLabel }),
    ...(lists && { lists }),
    ...(images !== undefined && { images }),
    ...(datasets && { mixing, weights: datasets.map(({ weight }) => weight) }),
  };
}

/** @throws GradCacheError `INPUT` where a resumed run would have other batches than the run that it goes on from */
export async function requireSameOrder(
  { folder, checkpoint }: Resumed,
  config: FilledTrainConfig,
): Promise<void> {
  const { state } = checkpoint;
  for (const [name, now] of Object.entries(dataOrder(config))) {
    const then = state.order[name];
    if (!isSame(then, now)) throw otherRun(folder, name, `was ${show(then)}, now ${show(now)}`);
  }
  // Checkpoints of format 1 hold no digest of the rows, but the sizes of the files that they were in.
  if (state.read !== undefined) return;
  const sizes = await Promise.all(config.data.map(sizeOf));
  if (isSame(state.order.bytes, sizes)) return;
  throw new GradCacheError(
    'INPUT',
    `${folder} cannot be resumed: the sizes of the data files were ${show(state.order.bytes)}, now ${show(sizes)}. Use the ` +
      'same data, or start a new run from the model in that folder.',
  );
}

const isSame = (then: unknown, now: unknown): boolean => JSON.stringify(then) === JSON.stringify(now);

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    throw fileError('INPUT', path, 'read', error);
  }
}
