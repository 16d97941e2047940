import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { refused, requireCount } from '../options/option-values.js';
import type { Chunk } from '../step/encoder.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';

/** @throws GradCacheError `INPUT` unless it has the lists of a batch of token ids */
export function requireTokens(batch: unknown): void {
  const {
    ids,
    offsets,
    truncated,
    types: kinds,
    counted,
    skipped,
    unattended,
  } = (batch ?? {}) as Partial<TokenBatch>;
  if (
    !types.isInt32Array(ids) ||
    !types.isInt32Array(offsets) ||
    !(kinds === undefined || types.isInt32Array(kinds))
  ) {
    throw new GradCacheError(
      'INPUT',
      'a text encoder takes what its tokenize() returns: { ids, offsets, truncated } with ids and offsets of Int32Array',
    );
  }
  requireCount("a batch's truncated", truncated, 0);
  if (skipped !== undefined) requireCount("a batch's skipped", skipped, 0);
  if (unattended !== undefined && !types.isInt32Array(unattended))
    throw refused("a batch's unattended", unattended, 'an Int32Array');
  if (unattended !== undefined && unattended.length !== offsets.length - 1)
    throw new GradCacheError(
      'SHAPE',
      `a batch's unattended has ${unattended.length} numbers for ${offsets.length - 1} texts`,
    );
  if (counted === undefined) return;
  if (!types.isUint8Array(counted)) throw refused("a batch's counted", counted, 'a Uint8Array');
  if (counted.length !== ids.length)
    throw new GradCacheError(
      'SHAPE',
      `a batch's counted has ${counted.length} numbers for ${ids.length} token ids`,
    );
}

/** How many tokens of each text have a representation. */
export function countsOf(batch: TokenBatch): Int32Array {
  const { offsets, counted } = batch;
  return lengthsOf(batch).map((_, text) => countBetween(counted, offsets[text]!, offsets[text + 1]!));
}

/** The number of tokens of each text. @throws GradCacheError `INPUT`, `SHAPE` */
export function lengthsOf(batch: TokenBatch): Int32Array {
  requireTokens(batch);
  const { ids, offsets, types: kinds } = batch;
  if (kinds !== undefined && kinds.length !== ids.length)
    throw new GradCacheError('SHAPE', `${kinds.length} types for ${ids.length} token ids`);
  if (offsets.length < 2) throw new GradCacheError('INPUT', 'the batch is empty: there is no text to encode');
  const lengths = new Int32Array(offsets.length - 1);
  for (let k = 0; k < lengths.length; k++) lengths[k] = offsets[k + 1]! - offsets[k]!;
  if (offsets[0] !== 0 || offsets.at(-1) !== ids.length || lengths.some((length) => length < 0)) {
    throw new GradCacheError('SHAPE', `offsets do not cut the ${ids.length} token ids into sequences`);
  }
  return lengths;
}

function countBetween(counted: Uint8Array | undefined, begin: number, end: number): number {
  if (counted === undefined) return end - begin;
  let count = 0;
  for (let token = begin; token < end; token++) if (counted[token] !== 0) count++;
  return count;
}

/**
 * A batch of the rows of a chunk alone.
 *
 * @throws GradCacheError `INPUT`, or `SHAPE` for a chunk that is not one of its batch
 */
export function cut({ batch, rows }: Chunk<TokenBatch>): Omit<TokenBatch, 'truncated'> {
  requireTokens(batch);
  const last = batch.offsets.length - 2;
  const offsets = new Int32Array(rows.length + 1);
  for (const [k, row] of rows.entries()) {
    if (row < 0 || row > last)
      throw new GradCacheError('SHAPE', `row ${row} of a chunk is not in its batch of ${last + 1} rows`);
    offsets[k + 1] = offsets[k]! + batch.offsets[row + 1]! - batch.offsets[row]!;
  }
  const cutFrom = <List extends Int32Array | Uint8Array>(list: List): List => {
    const taken = new (list.constructor as new (length: number) => List)(Math.max(0, offsets[rows.length]!));
    for (const [k, row] of rows.entries())
      taken.set(list.subarray(batch.offsets[row], batch.offsets[row + 1]), offsets[k]);
    return taken;
  };
  return {
    ids: cutFrom(batch.ids),
    offsets,
    ...(batch.types && { types: cutFrom(batch.types) }),
    ...(batch.counted && { counted: cutFrom(batch.counted) }),
    ...(batch.skipped !== undefined && { skipped: batch.skipped }),
    ...(batch.unattended && { unattended: rows.map((row) => batch.unattended![row]!) }),
  };
}
