import { planChunks, type PlannedChunk } from '../step/chunk-plan.js';
import { inOrder } from '../step/chunk-queue.js';
import type { Chunk } from '../step/encoder.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';
import type { Entries } from './sparse-rows.js';
import { lengthsOf } from './text-chunk.js';
import type { TokenPasses } from './token-passes.js';

/** How texts are encoded without dropout or graph. */
interface Inference {
  /** Tokens of a chunk. */
  readonly tokens: number;
  readonly signal: AbortSignal | undefined;
}

/** Puts the representations of a batch into `target`, [texts, at most dimension]. */
export async function inferInto(
  target: Tensor,
  passes: TokenPasses,
  batch: TokenBatch,
  how: Inference,
): Promise<void> {
  await overChunks(passes, batch, how, (chunk, group) => passes.infer(chunk, group, target));
}

/** The entries of sparse representations, chunk by chunk, and the rows of the batch that they are of. */
export function inferEntries(
  passes: TokenPasses,
  batch: TokenBatch,
  how: Inference,
): Promise<{ rows: Int32Array; entries: Entries }[]> {
  return overChunks(passes, batch, how, async (chunk, group) => {
    const { representations, counts } = await passes.inferChunk(chunk, group);
    try {
      const numbers = (await representations.values()) as Entries['numbers'];
      return { rows: chunk.rows, entries: { numbers, counts: counts! } };
    } finally {
      representations.dispose();
    }
  });
}

/** Cuts a batch into chunks and gives what `launch` makes of each. */
async function overChunks<T>(
  passes: TokenPasses,
  batch: TokenBatch,
  { tokens, signal }: Inference,
  launch: (chunk: Chunk<TokenBatch>, group: number) => Promise<T>,
): Promise<T[]> {
  if (batch.offsets.length < 2) return [];
  const plan: readonly PlannedChunk[] = planChunks(lengthsOf(batch), { tokens });
  const packed = await passes.pack(batch);
  const results: T[] = [];
  try {
    await inOrder({
      count: plan.length,
      signal,
      launch: (index, group) => launch({ batch, packed, ...plan[index]! }, group),
      done: (_, result) => results.push(result),
    });
    return results;
  } finally {
    packed.dispose();
  }
}
