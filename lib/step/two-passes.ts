import { AHEAD, inOrder } from './chunk-queue.js';
import { backwardFrom, encodeInto } from './chunk-passes.js';
import type { EarlyReductions } from './early-reductions.js';
import type { Pass } from './pass.js';

/** Step 1 of the paper: encodes every chunk, keeping only the planned graphs, and caches the representations by row. */
export async function encodeAll(pass: Pass): Promise<void> {
  const { jobs, packed, cache, encoded, options } = pass;
  const report = pass.progress('forward', jobs);
  await inOrder({
    count: jobs.length,
    signal: options.signal,
    launch: (index, group) => encodeInto(cache, jobs[index]!, packed, group),
    done: (index, result) => {
      encoded.push(result);
      report(jobs[index]!.chunk);
    },
  });
}

/**
 * Step 3: encodes every chunk again with a graph and runs backward from its rows of the cache. The last chunk goes first, so
 * that kept graphs are freed before others are made. The order is the same without kept graphs, and so is every bit of the
 * result. Chunks that depend on nothing trainable are skipped.
 *
 * @param early what is told of each chunk that is done
 */
export async function backwardAll(
  pass: Pass,
  early: Pick<EarlyReductions, 'done' | 'isLast'> | null = null,
): Promise<void> {
  const { packed, cache, options } = pass;
  const trained = [...pass.trained()].reverse();
  const report = pass.progress('backward', trained);
  await inOrder({
    count: trained.length,
    signal: options.signal,
    ahead: (position) => (trained[position]!.encoder.queues ? AHEAD : 0),
    launch: (position, group) =>
      backwardFrom(
        cache,
        trained[position]!,
        packed,
        group,
        (root) => pass.beforeBackward(root),
        early?.isLast(position),
      ),
    done: (position) => {
      const { tower, chunk } = trained[position]!;
      early?.done(tower);
      report(chunk);
    },
  });
}
