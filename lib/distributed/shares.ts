/*
 * How the elements of a flat tensor are divided over ranks. Each rank has as many, one rank's behind the other's; the last one
 * has the few that are left over, too.
 */
import type { GroupHandle } from '../addon/native.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Ranks } from './ranks.js';

/** Shares begin at multiples of this, so that kernels put the same elements into one vector as in the whole. */
const ALIGNMENT = 64;

/**
 * Of some elements of a flat tensor, how many belong to each rank.
 *
 * @param total elements of the whole flat tensor
 * @param begin the first of them
 * @param length how many they are
 */
export function sharesWithin(ranks: number, total: number, begin: number, length: number): number[] {
  const each = equalShare(ranks, total);
  return Array.from({ length: ranks }, (_, rank) => {
    const end = rank === ranks - 1 ? total : (rank + 1) * each;
    return Math.max(0, Math.min(begin + length, end) - Math.max(begin, rank * each));
  });
}

/** Adds up a flat tensor over ranks: each gets the sums of its own share, and anything in those of others. */
export async function reduceToShares(ranks: Ranks, flat: Tensor, what: string): Promise<void> {
  await forParts(ranks, flat, (group, part, counts) => group.reduceScatter(part.handle, counts, what));
}

/** Gives all ranks the share that each rank has of a flat tensor. */
export async function gatherShares(ranks: Ranks, flat: Tensor, what: string): Promise<void> {
  await forParts(ranks, flat, (group, part, counts) => group.allGather(part.handle, counts, what));
}

/** Sets what other ranks have of a flat tensor to zero. */
export function zeroOthers({ rank, size }: Ranks, flat: Tensor): void {
  const counts = sharesWithin(size, flat.size, 0, flat.size);
  const begin = sumOf(counts.slice(0, rank));
  for (const [from, to] of [
    [0, begin],
    [begin + counts[rank]!, flat.size],
  ] as const) {
    const part = partOf(flat, from, to - from);
    noGrad(() => {
      call('aten::zero_', part).dispose();
    });
    part.dispose();
  }
}

/** The memory of a tensor without gaps as one row; the caller disposes it. */
export function flatOf(tensor: Tensor): Tensor {
  return untracked(() => noGrad(() => call('aten::as_strided', tensor, [tensor.size], [1])));
}

/** Some elements of a flat tensor; the caller disposes it. */
export function partOf(flat: Tensor, begin: number, length: number): Tensor {
  return untracked(() => noGrad(() => flat.narrow(0, begin, length)));
}

/** The equal shares in one exchange, and what is left over in another. */
async function forParts(
  ranks: Ranks,
  flat: Tensor,
  exchange: (group: GroupHandle, part: Tensor, counts: number[]) => Promise<void>,
): Promise<void> {
  const each = equalShare(ranks.size, flat.size);
  const equal = Array.from({ length: ranks.size }, () => each);
  const left = equal.map((_, rank) => (rank === ranks.size - 1 ? flat.size - each * ranks.size : 0));
  for (const [begin, counts] of [
    [0, equal],
    [each * ranks.size, left],
  ] as const) {
    const length = sumOf(counts);
    if (length === 0) continue;
    const part = partOf(flat, begin, length);
    try {
      await ranks.exchange((group) => exchange(group, part, [...counts]));
    } finally {
      part.dispose();
    }
  }
}

const equalShare = (ranks: number, total: number): number =>
  Math.floor(total / (ranks * ALIGNMENT)) * ALIGNMENT;

const sumOf = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);
