import type { LossWithGradients } from '../losses/loss.js';
import { encodeInto } from './chunk-passes.js';
import type { ChunkPlanner } from './chunk-planner.js';
import { inOrder } from './chunk-queue.js';
import { lengthsOf, type AnyEncoder } from './encoder.js';
import type { LossOfOptions } from './gradcache-options.js';
import { inLoss } from './out-of-memory.js';
import { whilePacked } from './packed-batches.js';
import { RepresentationCache } from './representation-cache.js';

/** The loss of a batch whose chunks are encoded once, in evaluation, without graphs. */
export async function evaluationLoss(
  {
    encoders,
    loss,
    planner,
  }: { encoders: readonly AnyEncoder[]; loss: LossWithGradients; planner: ChunkPlanner },
  batches: readonly never[],
  { signal, loss: given = {} }: LossOfOptions,
): Promise<number> {
  const { lengths } = planner.measure(batches);
  const rows = lengths.map(({ length }) => length);
  loss.checkOptions?.(given, rows, lengthsOf(encoders));
  return whilePacked(encoders, batches, (packed) =>
    planner.retried(
      () => planner.plan(batches, lengths, 0).map((job) => ({ ...job, retain: false })),
      async (jobs) => {
        const [cache, ready] = [new RepresentationCache(rows), await packed];
        try {
          await inOrder({
            count: jobs.length,
            signal,
            launch: (index, group) => encodeInto(cache, jobs[index]!, ready, group, true),
            done: () => undefined,
          });
          return await cache.valueOf(loss, given).catch((error: unknown) =>
            inLoss(
              error,
              rows.reduce((sum, count) => sum + count, 0),
            ),
          );
        } finally {
          cache.dispose();
        }
      },
    ),
  );
}
