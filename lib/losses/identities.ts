import type { LossOptions } from './loss.js';
import { idsOf } from './memory-rows.js';

/** The native settings of identities. */
export type IdSettings = Readonly<Record<'ids' | 'idExamples', Int32Array | null>> & {
  readonly idsPerRow: number | null;
};

/**
 * The native settings for the keyword argument `ids`: what identifies each example, a string, a whole number from 0, or a
 * list of them. Rows that share one are no negatives of each other. All null where no rows do.
 *
 * Row i of a tower with as many rows as the first is about example i. What rows of other towers are about is not known.
 *
 * @param rows of all towers
 * @param owners for each row of the towers from the third on the example that it is about, -1: none; null: as said above
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function idSettings(
  { ids }: LossOptions,
  rows: readonly number[],
  owners: ArrayLike<number> | null,
): IdSettings {
  if (ids === undefined) return { ids: null, idsPerRow: null, idExamples: null };
  const [count = 0] = rows;
  const given = idsOf(ids, count).map((of) => [...new Set(of)]);
  const counts = new Map<number, number>();
  for (const id of given.flat()) counts.set(id, (counts.get(id) ?? 0) + 1);
  // An identity of one example alone shares nothing.
  const shared = [...counts].filter(([, examples]) => examples > 1).map(([id]) => id);
  if (shared.length === 0) return { ids: null, idsPerRow: null, idExamples: null };
  const numbers = new Map(shared.map((id, number) => [id, number]));
  const ofExamples = given.map((of) => of.flatMap((id) => numbers.get(id) ?? []));
  const width = ofExamples.reduce((most, { length }) => Math.max(most, length), 0);
  const flat = ofExamples.flatMap((of) => [...of, ...Array<number>(width - of.length).fill(-1)]);
  return {
    ids: Int32Array.from(flat),
    idsPerRow: width,
    idExamples: Int32Array.from(examplesOf(rows, owners)),
  };
}

/** The example that each row of all towers is about, or -1. */
function examplesOf(rows: readonly number[], owners: ArrayLike<number> | null): number[] {
  const [count = 0] = rows;
  const unowned = owners === null ? rows : rows.slice(0, 2);
  const known = unowned.flatMap((here) =>
    Array.from({ length: here }, (_, row) => (here === count ? row : -1)),
  );
  return owners === null ? known : [...known, ...Array.from(owners)];
}
