import type { CheckedEncoder } from './checked-encoder.js';

/**
 * The towers that have no row on this rank: null stands in the place of their batch. What representations of theirs would be is
 * known where another tower with rows has the same encoder.
 */
export function absentTowers(encoders: readonly CheckedEncoder[], batches: readonly unknown[]): number[] {
  return batches.flatMap((batch, tower) =>
    batch === null && towerLike(encoders, tower, (other) => batches[other] !== null) >= 0 ? [tower] : [],
  );
}

/** Another tower of the same encoder, that has rows; -1 for none. */
export function towerLike(
  encoders: readonly CheckedEncoder[],
  tower: number,
  hasRows: (tower: number) => boolean,
): number {
  return encoders.findIndex((encoder, other) => encoder === encoders[tower] && hasRows(other));
}
