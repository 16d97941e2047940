import type { LossOptions } from './loss.js';
import { idsOf } from './memory-rows.js';

/**
 * The native settings for the keyword argument `ids`: what identifies the example of each row, a string, a whole number from
 * 0, or a list of them. Rows that share one are no negatives of each other. Null where no rows do.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function idSettings(
  { ids }: LossOptions,
  rows: number,
): { readonly ids: Int32Array | null; readonly idsPerRow: number | null } {
  const given = idsOf(ids, rows).map((of) => [...new Set(of)]);
  const counts = new Map<number, number>();
  for (const id of given.flat()) counts.set(id, (counts.get(id) ?? 0) + 1);
  // An identity of one row alone shares nothing.
  const shared = [...counts].filter(([, count]) => count > 1).map(([id]) => id);
  if (shared.length === 0) return { ids: null, idsPerRow: null };
  const numbers = new Map(shared.map((id, number) => [id, number]));
  const ofRows = given.map((of) => of.flatMap((id) => numbers.get(id) ?? []));
  const width = ofRows.reduce((most, { length }) => Math.max(most, length), 0);
  const flat = ofRows.flatMap((of) => [...of, ...Array<number>(width - of.length).fill(-1)]);
  return { ids: Int32Array.from(flat), idsPerRow: width };
}
