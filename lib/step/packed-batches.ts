import type { AnyEncoder, PackedBatch } from './encoder.js';
import { aboutInput } from './inputs.js';

/** The packed batch of each tower; undefined where its encoder packs none. */
export type PackedBatches = readonly (PackedBatch | undefined)[];

/**
 * Runs a step over batches that are packed once, however many attempts it takes, and freed at its end.
 *
 * @param run is given the packed batches while they are being packed
 * @throws GradCacheError `INPUT`, `SHAPE` for batches that the encoders do not take, and what `run` throws
 */
export async function whilePacked<T>(
  encoders: readonly AnyEncoder[],
  batches: readonly never[],
  run: (packed: Promise<PackedBatches>) => Promise<T>,
): Promise<T> {
  const packing = encoders.map(async (encoder, tower) => {
    if (batches[tower] === null) return undefined; // a tower without rows
    try {
      return await encoder.pack?.(batches[tower]!);
    } catch (error) {
      throw aboutInput(tower, error);
    }
  });
  const packed = Promise.all(packing);
  packed.catch(() => undefined); // `run` may fail before it awaits them
  try {
    return await run(packed);
  } finally {
    for (const outcome of await Promise.allSettled(packing))
      if (outcome.status === 'fulfilled') outcome.value?.dispose();
  }
}
