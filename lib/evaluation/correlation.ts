import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import { plural } from '../options/plural.js';

/**
 * Pearson's correlation of two lists of equal length; NaN when one of them is constant.
 *
 * @example
 * ```ts
 * pearson([1, 2, 3], [2, 4, 6]); // 1
 * ```
 */
export function pearson(first: ArrayLike<number>, second: ArrayLike<number>): number {
  const n = checkLengths(first, second);
  const mean = (list: ArrayLike<number>): number => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += list[i] as number;
    return sum / n;
  };
  const meanFirst = mean(first);
  const meanSecond = mean(second);
  let covariance = 0;
  let varianceFirst = 0;
  let varianceSecond = 0;
  for (let i = 0; i < n; i++) {
    const a = (first[i] as number) - meanFirst;
    const b = (second[i] as number) - meanSecond;
    covariance += a * b;
    varianceFirst += a * a;
    varianceSecond += b * b;
  }
  return covariance / Math.sqrt(varianceFirst * varianceSecond);
}

/**
 * Spearman's correlation: Pearson's correlation of the ranks, equal values sharing the average of their ranks.
 *
 * @throws GradCacheError `NON_FINITE` for NaN
 * @example
 * ```ts
 * spearman([1, 2, 3], [1, 10, 100]); // 1
 * ```
 */
export function spearman(first: ArrayLike<number>, second: ArrayLike<number>): number {
  checkLengths(first, second);
  return pearson(averageRanks(first), averageRanks(second));
}

/**
 * The rank of each value from 1 up; equal values get the average of the ranks they take up together.
 *
 * @throws GradCacheError `NON_FINITE` for NaN, which has no rank
 * @example
 * ```ts
 * averageRanks([30, 10, 10]); // 3, 1.5, 1.5
 * ```
 */
export function averageRanks(values: ArrayLike<number>): Float64Array {
  requireNumbers(values);
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i]))
      throw new GradCacheError('NON_FINITE', `Value ${i} of a list to be ranked is NaN, which has no rank.`);
  }
  const order = Uint32Array.from({ length: values.length }, (_, index) => index);
  order.sort((a, b) => (values[a] as number) - (values[b] as number));
  const ranks = new Float64Array(values.length);
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && values[order[end] as number] === values[order[start] as number]) end++;
    // Places start..end-1 hold one value; their ranks are start+1..end.
    for (let place = start; place < end; place++) ranks[order[place] as number] = (start + 1 + end) / 2;
    start = end;
  }
  return ranks;
}

function checkLengths(first: ArrayLike<number>, second: ArrayLike<number>): number {
  requireNumbers(first);
  requireNumbers(second);
  if (first.length !== second.length || first.length < 2) {
    throw new GradCacheError(
      'SHAPE',
      `The lists have ${first.length} and ${plural(second.length, 'value')}; two of one length, at least 2, are needed.`,
    );
  }
  return first.length;
}

function requireNumbers(list: unknown): void {
  const isList = Array.isArray(list) || ArrayBuffer.isView(list);
  if (!isList || (Array.isArray(list) && !list.every((value) => typeof value === 'number')))
    throw refused('a list of values', list, 'a list of numbers');
}
