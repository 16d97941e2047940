import type { Tensor } from '../tensor/tensor.js';
import { requireTicket } from './chunk-checks.js';
import type { Job } from './chunk-planner.js';
import type { EncodedRows } from './encoder.js';
import type { PackedBatches } from './packed-batches.js';
import type { RepresentationCache } from './representation-cache.js';

/**
 * The first pass of a chunk: its representations go to their rows of the cache.
 *
 * @param evaluation without dropout, for a chunk that has no second pass
 */
export async function encodeInto(
  cache: RepresentationCache,
  job: Job,
  packed: PackedBatches,
  group: number,
  evaluation = false,
): Promise<EncodedRows> {
  const { encoder, tower, seed, retain } = job;
  const { rowPasses } = encoder;
  const chunk = { ...job.chunk, packed: packed[tower] };
  const options = { seed, retain, group, ...(evaluation && { evaluation }) };
  if (rowPasses === undefined) {
    const encoded = await encoder.forwardChunk(chunk, options);
    const { representations, counts, ticket, frozen } = encoded;
    try {
      cache.put(tower, chunk.rows, representations, counts);
    } catch (error) {
      ticket.graph?.dispose();
      throw error;
    } finally {
      representations.dispose();
    }
    return { ticket, frozen };
  }
  const target = cache.target(
    tower,
    (representations) => rowPasses.empty(representations),
    () => rowPasses.counts?.(chunk.batch),
  );
  const encoded = await rowPasses.forward(chunk, options, target);
  requireTicket('the ticket of rowPasses', (encoded as Partial<EncodedRows> | undefined)?.ticket);
  cache.fill(tower, chunk.rows);
  return encoded;
}

/**
 * The second pass of a chunk: a backward from its rows of the cached gradients.
 *
 * @param before see `backwardChunk` of an encoder
 * @param last whether no other backward adds to the gradients of these parameters
 */
export async function backwardFrom(
  cache: RepresentationCache,
  job: Job & EncodedRows,
  packed: PackedBatches,
  group: number,
  before: (representations: Tensor) => Promise<void>,
  last = false,
): Promise<void> {
  const { encoder, tower, ticket } = job;
  const { rowPasses } = encoder;
  const chunk = { ...job.chunk, packed: packed[tower] };
  if (rowPasses !== undefined) {
    await rowPasses.backward(chunk, ticket, cache.allGradients(tower), group, last);
    return;
  }
  const gradients = cache.gradients(tower, chunk.rows);
  try {
    await encoder.backwardChunk(chunk, ticket, gradients, group, before);
  } finally {
    gradients.dispose();
  }
}
