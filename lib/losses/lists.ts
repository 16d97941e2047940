import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';
import { requiredLabels, requireForEach } from './labels.js';
import type { LossOptions } from './loss.js';
import { requireOneLogit } from './pair-loss.js';

/** The documents of each query side by side: one row for each query. A list shorter than the longest ends with empty places. */
export interface Lists {
  /** [queries, longest], with a graph. */
  readonly scores: Tensor;
  /** [queries, longest] of the same type: 1 where a document is, 0 in empty places. */
  readonly present: Tensor;
  /** A number for each document, laid out like the scores, without a graph. */
  readonly laidOut: (values: readonly number[], empty: number) => Tensor;
}

/**
 * Lays out the scores of pairs, which come query after query.
 *
 * @param scores [pairs, 1]
 * @param lengths the number of pairs of each query
 * @param empty the score of empty places
 * @throws GradCacheError `SHAPE`
 */
export function listsOf(scores: Tensor, lengths: readonly number[], empty: number): Lists {
  requireOneLogit(scores);
  const pairs = scores.shape[0]!;
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0);
  const shape = [lengths.length, longest];
  const { dtype, device } = scores;
  const laidOut = (values: readonly number[], hollow: number): Tensor =>
    noGrad(() => Tensor.from(layOut(values, lengths, longest, hollow), { shape }).to({ dtype, device }));
  // Empty places show the element behind the last score.
  const behind: Tensor = noGrad(() => call('aten::full', [1], empty, { dtype, device }));
  const numbers = Int32Array.from(layOut(range(pairs), lengths, longest, pairs));
  const places = noGrad(() => Tensor.from(numbers).to({ device }));
  const all: Tensor = call('aten::cat', [scores.reshape([pairs]), behind], 0);
  const ones = Array.from({ length: pairs }, () => 1);
  return {
    scores: all.indexSelect(0, places).reshape(shape),
    present: laidOut(ones, 0),
    laidOut,
  };
}

const range = (count: number): number[] => Array.from({ length: count }, (_, k) => k);

function layOut(
  values: readonly number[],
  lengths: readonly number[],
  longest: number,
  empty: number,
): Float64Array {
  const laid = new Float64Array(lengths.length * longest).fill(empty);
  let begin = 0;
  for (const [query, length] of lengths.entries()) {
    laid.set(values.slice(begin, begin + length), query * longest);
    begin += length;
  }
  return laid;
}

/** The keyword argument `lists`: the number of pairs of each query. @throws GradCacheError `INPUT`, `SHAPE` */
export function lengthsOf({ lists: given }: LossOptions, pairs: number): readonly number[] {
  if (!Array.isArray(given) && !types.isInt32Array(given))
    throw refused('lists', given, 'a list with the number of pairs of each query');
  const lengths = Array.from(given as ArrayLike<unknown>) as number[];
  const wrong = lengths.findIndex((length) => !Number.isSafeInteger(length) || length < 1);
  if (wrong >= 0) throw refused(`lists[${wrong}]`, lengths[wrong], 'a whole number from 1');
  const all = lengths.reduce((sum, length) => sum + length, 0);
  if (all === pairs) return lengths;
  throw new GradCacheError('SHAPE', `The lists have ${all} pairs in all, and there are ${pairs}.`);
}

/**
 * The keyword argument `labels` of a loss of lists: a number for each pair, or for each query the numbers of its pairs.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function labelsOfLists(loss: string, given: unknown, lengths: readonly number[]): number[] {
  const pairs = lengths.reduce((sum, length) => sum + length, 0);
  if (!Array.isArray(given) || !isNested(given)) return requiredLabels(loss, LABELS, given, pairs);
  requireForEach('labels', given, lengths.length);
  const all = given.flatMap((list, query) => {
    const numbers = Array.isArray(list) ? (list as readonly unknown[]) : [list];
    if (numbers.length === lengths[query]) return numbers;
    throw new GradCacheError(
      'SHAPE',
      `labels[${query}] has ${numbers.length} numbers for ${lengths[query]} pairs; one for each is needed.`,
    );
  });
  return requiredLabels(loss, LABELS, all, pairs);
}

const LABELS = 'a number for each pair';

/** Whether labels come query by query. */
export const isNested = (given: unknown): boolean =>
  Array.isArray(given) && given.some((each) => Array.isArray(each));

/** The columns of a loss of lists in `train`. */
export const DOCUMENTS = {
  least: 2,
  needed:
    'a column of queries and one with a list of documents in each row, or one of queries and two or more of documents,',
  usual: ['query', 'documents'],
};

/** Their labels. */
export const RELEVANCE = 'for each row how relevant each document is, a list of numbers';
