import type { AnyEncoder, Chunk } from './encoder.js';
import { memory } from '../tensor/memory.js';

/** Share of the remaining memory that `'auto'` gives to graphs. The rest is a margin. */
const SHARE = 0.92;

/** Memory of a chunk's passes besides its graph, in multiples of the graph: gradients and products of one layer. */
const WORKING = 0.35;

/** Which chunks keep their graph: see {@link GradCacheOptions.retain}. */
export type Retain =
  | {
      /** Memory for graphs. */
      readonly bytes: number;
    }
  | 'auto'
  | 'last';

/** One chunk of a step. */
export interface PlannedJob {
  readonly encoder: AnyEncoder;
  readonly chunk: Chunk<never>;
}

/**
 * How many of the last chunks keep their graph and so are encoded once. The second pass frees them first.
 *
 * @param retain a budget in bytes; `'auto'`: what the device has left besides one running chunk, but at least one chunk;
 * `'last'`: one chunk
 * @param divisor the budget is divided by this; greater than 1 after memory ran out
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
    // A chunk that is encoded again needs room for its graph and its work; if there is none, only the work needs room.
    const reserved = largest * (k > 0 ? 1 + WORKING : WORKING);
    // At most what the graphs need, so that dividing a larger budget has an effect.
    const budget = Math.min(all, retain === 'auto' ? available - reserved : retain.bytes);
    if (used + bytes > budget / divisor) break;
    used += bytes;
    kept++;
  }
  return retain === 'auto' ? Math.max(1, kept) : kept;
}

/** Columns of a sparse row that are not 0, of which no more is known before. Trained ones have a few hundred. */
const SPARSE = 1024;

/** Bytes of the representations and their gradients in float32, and of a copy that a loss may make. */
function representations(jobs: readonly PlannedJob[]): number {
  return jobs.reduce((sum, { encoder, chunk }) => {
    const count = encoder.perToken === true ? chunk.tokens : chunk.rows.length;
    const numbers = encoder.sparse === true ? 2 * SPARSE : (encoder.trainedDimension ?? 1024);
    return sum + 3 * count * 4 * numbers;
  }, 0);
}
