import { stat } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import type { FilledTrainConfig } from './read-config.js';
import type { Resumed } from './resume.js';

/** The settings that decide which rows are in which batch. The rows themselves are compared while they are read. */
export function dataOrder({
  columns,
  batch,
  seed,
  shuffle,
  uniqueTexts,
}: FilledTrainConfig): Record<string, unknown> {
  return { columns, batch, seed, shuffle, uniqueTexts };
}

/** @throws GradCacheError `INPUT` where a resumed run would have other batches than the run that it goes on from */
export async function requireSameOrder(
  { folder, checkpoint }: Resumed,
  config: FilledTrainConfig,
): Promise<void> {
  const { state } = checkpoint;
  for (const [name, now] of Object.entries(dataOrder(config)))
    requireSame(folder, `${name} was`, state.order[name], now);
  // Checkpoints of format 1 hold no digest of the rows, but the sizes of the files that they were in.
  if (state.read !== undefined) return;
  const sizes = await Promise.all(config.data.map(sizeOf));
  requireSame(folder, 'the sizes of the data files were', state.order.bytes, sizes);
}

function requireSame(folder: string, what: string, then: unknown, now: unknown): void {
  if (JSON.stringify(then) === JSON.stringify(now)) return;
  throw new GradCacheError(
    'INPUT',
    `${folder} cannot be resumed: ${what} ${JSON.stringify(then)}, now ${JSON.stringify(now)}, and the order of the data ` +
      'would be another. Use the same setting, or start a new run from the model in that folder.',
  );
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    throw fileError('INPUT', path, 'read', error);
  }
}
