import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused } from '../options/option-values.js';
import { requireForEach } from './labels.js';
import { isNested, lengthsOf, listsOf } from './lists.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, pairLoss, type LogitActivation } from './pair-loss.js';
import { marginsOrScores } from './row-labels.js';

/** Settings of {@link scoreMarginMSE}. */
export interface ScoreMarginMSEOptions {
  /** Applied to the logits first. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

/**
 * Distils margins into a {@link CrossEncoder}: the mean over negatives of
 * `((activation(positive) - activation(negative)) - margin)²`. It is `MarginMSELoss` of sentence-transformers'
 * cross-encoders.
 *
 * Towers: the logits of pairs [P, 1], query after query, each query's positive first. `step([pairs], { loss: { lists, labels } })`
 * gives the number of pairs of each query (two or more), and either the margin of each negative or the score of each pair, in one
 * list or as a list for each query.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: scoreMarginMSE() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'the positive'],
 *   ['who wrote it', 'a negative'],
 * ]);
 * await gradcache.step([pairs], { loss: { lists: [2], labels: [6.8] } }); // by how much the teacher prefers the positive
 * ```
 */
export function scoreMarginMSE(options: ScoreMarginMSEOptions = {}): LossWithGradients {
  checkKnown('scoreMarginMSE', options, ['activation']);
  const activate = activationNamed(options.activation);
  return pairLoss({
    name: 'scoreMarginMSE',
    takes: ['lists', 'labels'],
    read: (options, pairs) => {
      const lengths = lengthsOf(options, pairs);
      const alone = lengths.findIndex((length) => length < 2);
      if (alone >= 0) throw refused(`lists[${alone}]`, lengths[alone], 'a positive and a negative or more');
      return { lengths, margins: marginsOf(options['labels'], lengths) };
    },
    loss: (logits, { lengths, margins }) => {
      const { scores, present, laidOut } = listsOf(activate(logits), lengths, 0);
      const negatives = present.shape[1]! - 1;
      const wanted = laidOut(margins, 0).narrow(1, 1, negatives);
      const found = scores.narrow(1, 0, 1).sub(scores.narrow(1, 1, negatives));
      const difference = found.sub(wanted).mul(present.narrow(1, 1, negatives));
      const all = logits.shape[0]! - lengths.length;
      return difference.mul(difference).sum().div(all);
    },
  });
}

/** The margin of each pair, 0 for positives. @throws GradCacheError `INPUT`, `SHAPE` */
function marginsOf(given: unknown, lengths: readonly number[]): number[] {
  const needed = 'a list of the margin of each negative, or of the score of each pair';
  if (!Array.isArray(given)) throw refused('labels', given, needed);
  const labels = given as readonly unknown[];
  const byQuery = isNested(labels) || labels.length === lengths.length ? labels : cut(labels, lengths);
  requireForEach('labels', byQuery, lengths.length);
  return byQuery.flatMap((list, query) => {
    const numbers = Array.isArray(list) ? (list as readonly unknown[]) : [list];
    const wrong = numbers.find((label) => !Number.isFinite(label));
    if (wrong !== undefined) throw refused(`labels[${query}]`, list, 'finite numbers');
    const pairs = lengths[query]!;
    if (numbers.length === pairs - 1) return [0, ...(numbers as readonly number[])];
    if (numbers.length === pairs)
      return (numbers as readonly number[]).map((score) => (numbers[0] as number) - score);
    throw new GradCacheError(
      'SHAPE',
      `labels[${query}] has ${numbers.length} numbers; ${pairs - 1} margins or ${pairs} scores are needed.`,
    );
  });
}

/** One list of numbers, cut into those of each query. @throws GradCacheError `SHAPE` */
function cut(labels: readonly unknown[], lengths: readonly number[]): unknown[][] {
  const pairs = lengths.reduce((sum, length) => sum + length, 0);
  const margins = pairs - lengths.length;
  if (labels.length !== margins && labels.length !== pairs)
    throw new GradCacheError(
      'SHAPE',
      `There are ${labels.length} labels; ${margins} margins or ${pairs} scores are needed.`,
    );
  let begin = 0;
  return lengths.map((length) => {
    const end = begin + length - (labels.length === margins ? 1 : 0);
    const own = labels.slice(begin, end);
    begin = end;
    return own;
  });
}

/** {@link scoreMarginMSE} in `train`. */
export const scoreMarginMSEKind: LossKind<Required<ScoreMarginMSEOptions>> = {
  about: "a cross-encoder: margins of positives over negatives like a teacher's",
  columns: { least: 3, needed: 'three or more different columns: query, positive, negatives' },
  pairs: { rows: 'documents', labels: 'one' },
  label: {
    type: 'numbers',
    needed:
      "for each row the teacher's margin for each negative, or its scores of the positive and each negative",
    needs: marginsOrScores,
  },
  comparesRows: false,
  settings: { activation: activationSetting('identity') },
  make: (settings) => scoreMarginMSE(settings),
};
