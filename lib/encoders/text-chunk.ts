import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { requireCount } from '../options/option-values.js';
import { requireChunk } from '../step/chunk-checks.js';
import type { Chunk } from '../step/encoder.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';

/** @throws GradCacheError `INPUT` unless it has the lists of a batch of token ids */
export function requireTokens(batch: unknown): void {
  const { ids, offsets, truncated } = (batch ?? {}) as Partial<TokenBatch>;
  if (!types.isInt32Array(ids) || !types.isInt32Array(offsets)) {
    throw new GradCacheError(
      'INPUT',
      'a text encoder takes what its tokenize() returns: { ids, offsets, truncated } with ids and offsets of Int32Array',
    );
  }
  requireCount("a batch's truncated", truncated, 0);
}

/** The number of tokens of each text. @throws GradCacheError `INPUT`, `SHAPE` */
export function lengthsOf(batch: TokenBatch): Int32Array {
  requireTokens(batch);
  const { ids, offsets } = batch;
  if (offsets.length < 2) throw new GradCacheError('INPUT', 'the batch is empty: there is no text to encode');
  const lengths = new Int32Array(offsets.length - 1);
  for (let k = 0; k < lengths.length; k++) lengths[k] = offsets[k + 1]! - offsets[k]!;
  if (offsets[0] !== 0 || offsets.at(-1) !== ids.length || lengths.some((length) => length < 0)) {
    throw new GradCacheError('SHAPE', `offsets do not cut the ${ids.length} token ids into sequences`);
  }
  return lengths;
}

/** The ids of a chunk's rows, end to end. @throws GradCacheError `INPUT`, or `SHAPE` for a chunk that is not one of its batch */
export function pack(chunk: Chunk<TokenBatch>): { ids: Int32Array; lengths: Int32Array } {
  requireChunk(chunk);
  const { batch, rows, tokens } = chunk;
  requireTokens(batch);
  const last = batch.offsets.length - 2;
  const lengths = rows.map((row) => {
    if (row < 0 || row > last)
      throw new GradCacheError('SHAPE', `row ${row} of a chunk is not in its batch of ${last + 1} rows`);
    return batch.offsets[row + 1]! - batch.offsets[row]!;
  });
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (tokens !== total)
    throw new GradCacheError('SHAPE', `a chunk of ${total} tokens says that it has ${tokens}`);
  const ids = new Int32Array(total);
  let end = 0;
  for (const [k, row] of rows.entries()) {
    const begin = batch.offsets[row]!;
    ids.set(batch.ids.subarray(begin, begin + lengths[k]!), end);
    end += lengths[k]!;
  }
  return { ids, lengths };
}
