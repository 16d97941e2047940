import type { AnyEncoder, Chunk } from './encoder.js';
import { memory } from '../tensor/memory.js';

/** Share of the memory that is left which `'auto'` gives to graphs: the rest is for what nobody foresees. */
const SHARE = 0.92;

/** What a chunk's passes need beside its graph, in multiples of the graph: gradients and products of one layer. */
const WORKING = 0.35;

/** Which chunks keep their graph: see {@link GradCacheOptions.retain}. */
export type Retain = { readonly bytes: number } | 'auto' | 'last';

/** One chunk of a step. */
export interface PlannedJob {
  readonly encoder: AnyEncoder;
  readonly chunk: Chunk<never>;
}

/**
 * How many of the last chunks keep their graph, so that they are encoded once: as many as a budget of bytes allows, from
 * the last one back. What is freed first in the second pass is then what was made last in the first.
 *
 * @param retain a number of bytes; `'auto'` for what the device has left beside one chunk at work, but at least one chunk,
 * as `'last'`
 * @param divisor what the budget is divided by, after memory ran out
 */
export function chooseRetained(jobs: readonly PlannedJob[], retain: Retain, divisor: number): number {
  if (jobs.length === 0) return 0;
  if (retain === 'last') return 1;
  const sizes = jobs.map(({ encoder, chunk }) => encoder.graphBytes(chunk));
  const known = sizes.map((bytes) => bytes ?? 0);
  const largest = known.reduce((most, bytes) => Math.max(most, bytes), 0);
  const all = known.reduce((sum, bytes) => sum + bytes, 0);
  const available =
    retain === 'auto' ? memory(jobs[0]!.encoder.device).available * SHARE - representations(jobs) : 0;
  let kept = 0;
  let used = 0;
  for (let k = jobs.length - 1; k >= 0; k--) {
    const bytes = sizes[k];
    if (bytes === null || bytes === undefined) break;
    // While any chunk is left to be encoded again, its graph and its work need room of their own; with none left, the work alone.
    const reserved = largest * (k > 0 ? 1 + WORKING : WORKING);
    // No more than the graphs take, so that a budget beyond them shrinks too when it is divided.
    const budget = Math.min(all, retain === 'auto' ? available - reserved : retain.bytes);
    if (used + bytes > budget / divisor) break;
    used += bytes;
    kept++;
  }
  return retain === 'auto' ? Math.max(1, kept) : kept;
}

/** Representations and their gradients, in float32, and a margin for a loss that makes a copy of them. */
function representations(jobs: readonly PlannedJob[]): number {
  return jobs.reduce(
    (sum, { encoder, chunk }) => sum + 3 * chunk.rows.length * 4 * (encoder.trainedDimension ?? 1024),
    0,
  );
}
