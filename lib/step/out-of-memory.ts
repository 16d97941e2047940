import { GradCacheError } from '../errors.js';
import type { PlannedJob } from './retention.js';

type Job = PlannedJob & { readonly retain: boolean };

export function isOutOfMemory(error: unknown): error is GradCacheError {
  return error instanceof GradCacheError && error.code === 'OUT_OF_MEMORY';
}

/** Memory ran out in the loss. Smaller chunks do not help, but keeping fewer graphs does. */
export class OutOfMemoryInLoss extends GradCacheError {
  constructor(rows: number, cause: GradCacheError) {
    super(
      'OUT_OF_MEMORY',
      `memory does not suffice for the loss over ${rows} representations: ${cause.message}. ` +
        'Use a smaller batch, or a loss that works in tiles, as infoNCE() does',
      { cause },
    );
  }
}

/** Memory ran out in a part that does not depend on the chunk size. */
export class OutOfMemoryBesideChunks extends GradCacheError {
  constructor(cause: GradCacheError) {
    super(
      'OUT_OF_MEMORY',
      'memory does not suffice for a copy of the gradients of earlier steps, which a step that fails puts back: ' +
        `${cause.message}. Free the device, or call optimizer.step() or optimizer.zeroGrad() first: gradients of zero need no copy`,
      { cause },
    );
  }
}

/** Rethrows an error of copying gradients; out of memory becomes {@link OutOfMemoryBesideChunks}. */
export function besideChunks(error: unknown): never {
  throw isOutOfMemory(error) ? new OutOfMemoryBesideChunks(error) : error;
}

/** Rethrows an error of the loss; out of memory becomes {@link OutOfMemoryInLoss}. */
export function inLoss(error: unknown, rows: number): never {
  throw isOutOfMemory(error) ? new OutOfMemoryInLoss(rows, error) : error;
}

/** True if chunks cannot be made smaller: all are single rows, and at most one keeps its graph. */
export function smallest(jobs: readonly Job[]): boolean {
  const kept = jobs.filter(({ retain }) => retain).length;
  return kept <= 1 && jobs.every(({ chunk }) => chunk.rows.length === 1);
}

/** The error when not even single rows fit. */
export function tooSmall(jobs: readonly Job[], cause: GradCacheError): GradCacheError {
  const longest = jobs.reduce((most, { chunk }) => Math.max(most, chunk.tokens), 0);
  return new GradCacheError(
    'OUT_OF_MEMORY',
    `memory does not suffice for chunks of one row (the longest has ${longest} tokens): ${cause.message}. ` +
      'Free the device, or use a smaller maxLength, model or batch',
    { cause },
  );
}
