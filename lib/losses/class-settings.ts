import { GradCacheError } from '../errors.js';
import { labelsOf } from './labels.js';
import type { LossOptions } from './loss.js';

/**
 * The native setting `classes`: the class of each row, through all towers.
 *
 * The keyword argument `labels` has one for each row of all towers; or one for each row of the first tower, which the
 * towers behind it with as many rows share, as views of one example do, and then one for each row of the others.
 *
 * @param rows of each tower
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function classesOf(loss: string, { labels }: LossOptions, rows: readonly number[]): Int32Array {
  const count = lengthOf(loss, labels);
  const total = sum(rows);
  const [first = 0] = rows;
  const other = rows.findIndex((of) => of !== first);
  const views = other < 0 ? rows.length : other;
  const shared = first + sum(rows.slice(views));
  if (count !== total && count !== shared)
    throw new GradCacheError(
      'SHAPE',
      `There are ${count} labels for towers of ${rows.join(', ')} rows; ` +
        `${[...new Set([shared, total])].join(' or ')} are needed.`,
    );
  const given = labelsOf(labels, count)!;
  const list =
    count === total
      ? given
      : [...Array.from({ length: views }, () => given.slice(0, first)).flat(), ...given.slice(first)];
  const numbers = new Map<number, number>();
  return Int32Array.from(list, (label) => {
    const number = numbers.get(label) ?? numbers.size;
    numbers.set(label, number);
    return number;
  });
}

function lengthOf(loss: string, labels: unknown): number {
  if (labels === undefined)
    throw new GradCacheError(
      'INPUT',
      `${loss} needs the class of each row: step(inputs, { loss: { labels } })`,
    );
  return (labels as ArrayLike<unknown> | null)?.length ?? 0;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
