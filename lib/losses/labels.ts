import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';

/** The keyword argument `labels` of a loss, one for each row; null: there are none. @throws GradCacheError `INPUT`, `SHAPE` */
export function labelsOf(given: unknown, rows: number): number[] | null {
  if (given === undefined) return null;
  requireForEach('labels', given, rows);
  const wrong = given.findIndex((label) => typeof label !== 'number' || !Number.isFinite(label));
  if (wrong >= 0) throw refused(`labels[${wrong}]`, given[wrong], 'a finite number');
  return [...(given as readonly number[])];
}

/** @throws GradCacheError `INPUT`, `SHAPE` unless it is a list with an entry for each row */
export function requireForEach(
  name: string,
  given: unknown,
  rows: number,
): asserts given is readonly unknown[] {
  if (!Array.isArray(given)) throw refused(name, given, 'a list with an entry for each row');
  if (given.length !== rows)
    throw new GradCacheError(
      'SHAPE',
      `There are ${given.length} ${name} for ${rows} rows; one for each is needed.`,
    );
}
