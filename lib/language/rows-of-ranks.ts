/*
 * The rows of a batch over ranks. Each rank has rows that follow one another, as many as the others or one more; those of all
 * are the ranks' in their order. What a checkpoint holds is of all rows, so that any number of ranks can go on from it.
 */
import { gatherRows } from '../distributed/gather-rows.js';
import type { Ranks } from '../distributed/ranks.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { toStored } from '../safetensors/stored-tensor.js';
import { noGrad } from '../tensor/autograd.js';
import { untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Segment } from './segment-model.js';
import { lengthOf } from './segments.js';

/** Rows that follow one another. */
export interface RowRange {
  readonly from: number;
  readonly to: number;
}

/** The rows that this rank has; all where it is alone. */
export function rowsOfRank(ranks: Ranks | null, rows: number): RowRange {
  if (ranks === null) return { from: 0, to: rows };
  const cut = (rank: number): number => Math.floor((rank * rows) / ranks.size);
  return { from: cut(ranks.rank), to: cut(ranks.rank + 1) };
}

/** Some rows of a segment. Its length stays: that of the longest of all rows. */
export function rowsOfSegment(segment: Segment, { from, to }: RowRange): Segment {
  const length = lengthOf(segment);
  const { inputs, targets, ends } = segment;
  return {
    ...segment,
    rows: to - from,
    inputs: inputs.slice(from * length, to * length),
    targets: targets.slice(from * length, to * length),
    ...(ends && { ends: ends.filter((row) => row >= from && row < to).map((row) => row - from) }),
  };
}

/**
 * A tensor with the rows of all ranks, on each of them; all call it.
 *
 * @param own this rank's, with its rows one behind the other
 * @param rows how many it has
 * @param shape of the tensor with the rows of all
 */
export async function storedOverRanks(
  ranks: Ranks | null,
  own: Tensor,
  rows: number,
  shape: readonly number[],
): Promise<StoredTensor> {
  if (ranks === null) return toStored(own);
  const byRow = (): Tensor => untracked(() => noGrad(() => own.reshape([rows, own.size / rows]).clone()));
  const all = await gatherRows(ranks, 'gathering the state of all rows', () => Promise.resolve(byRow()));
  try {
    return { ...(await toStored(all)), shape: [...shape] };
  } finally {
    all.dispose();
  }
}

/** Some rows of a stored tensor of so many. @param shape of the tensor with these rows */
export function rowsOfStored(
  stored: StoredTensor,
  rows: number,
  { from, to }: RowRange,
  shape: readonly number[],
): StoredTensor {
  const each = stored.bytes.length / rows;
  return { ...stored, shape: [...shape], bytes: stored.bytes.slice(from * each, to * each) };
}
