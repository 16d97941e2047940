import { GradCacheError } from '../errors.js';
import type { TokenBatchHandle } from '../addon/native.js';
import type { PackedBatch } from '../step/encoder.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';

/** A batch of token ids in native memory, checked once. Its chunks are lists of its rows. */
export class PackedTokens implements PackedBatch {
  readonly #handle: TokenBatchHandle;
  readonly #batch: TokenBatch;

  constructor(handle: TokenBatchHandle, batch: TokenBatch) {
    this.#handle = handle;
    this.#batch = batch;
  }

  /** @throws GradCacheError `INPUT` for what is not `batch` packed */
  static handleOf(packed: unknown, batch: TokenBatch): TokenBatchHandle {
    if (typeof packed === 'object' && packed !== null && #handle in packed && packed.#batch === batch)
      return packed.#handle;
    throw new GradCacheError(
      'INPUT',
      "a chunk's packed is not what pack() of a text encoder made of its batch",
    );
  }

  /** Frees it. Chunks under way keep it until they are done. */
  dispose(): void {
    this.#handle.dispose();
  }
}
