import type { AnyEncoder, PackedBatch } from './encoder.js';
import { aboutInput } from './inputs.js';

/**
 * Runs a step over batches that are packed once, however many attempts it takes, and freed at its end.
 *
 * @param run is given the packed batch of each tower; undefined where its encoder packs none
 * @throws GradCacheError `INPUT`, `SHAPE` for batches that the encoders do not take, and what `run` throws
 */
export async function whilePacked<T>(
  encoders: readonly AnyEncoder[],
  batches: readonly never[],
  run: (packed: readonly (PackedBatch | undefined)[]) => Promise<T>,
): Promise<T> {
  const packed: (PackedBatch | undefined)[] = [];
  try {
    for (const [tower, encoder] of encoders.entries()) {
      packed.push(
        await encoder.pack?.(batches[tower]!).catch((error: unknown) => {
          throw aboutInput(tower, error);
        }),
      );
    }
    return await run(packed);
  } finally {
    for (const batch of packed) batch?.dispose();
  }
}
