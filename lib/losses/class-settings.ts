import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
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
  return numbered(list);
}

/** Labels numbered from 0, in the order in which they first come. */
export function numbered(labels: readonly number[]): Int32Array {
  const numbers = new Map<number, number>();
  return Int32Array.from(labels, (label) => {
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
  if (!Array.isArray(labels) && !ArrayBuffer.isView(labels))
    throw refused('labels', labels, 'a list with the class of each row');
  return (labels as unknown as ArrayLike<unknown>).length;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
