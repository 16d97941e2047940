import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused } from '../options/option-values.js';
import { listsOf } from './lists.js';
import { activationNamed, type LogitActivation, type PairLoss } from './pair-logits.js';

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
 * gives the number of pairs of each query (two or more), and either the margin of each negative or the score of each pair.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function scoreMarginMSE(options: ScoreMarginMSEOptions = {}): PairLoss {
  checkKnown('scoreMarginMSE', options, ['activation']);
  const activate = activationNamed(options.activation ?? 'identity');
  return (logits, options) => {
    checkKnown('the loss of scoreMarginMSE', options, ['lists', 'labels']);
    const { scores, present, lengths, laidOut } = listsOf(activate(logits), options['lists'], 0);
    const alone = lengths.findIndex((length) => length < 2);
    if (alone >= 0) throw refused(`lists[${alone}]`, lengths[alone], 'a positive and a negative or more');
    const negatives = present.shape[1]! - 1;
    const margins = laidOut(marginsOf(options['labels'], lengths), 0).narrow(1, 1, negatives);
    const found = scores.narrow(1, 0, 1).sub(scores.narrow(1, 1, negatives));
    const difference = found.sub(margins).mul(present.narrow(1, 1, negatives));
    return difference
      .mul(difference)
      .sum()
      .div(logits.shape[0]! - lengths.length);
  };
}

/** The margin of each pair, 0 for positives. @throws GradCacheError `INPUT`, `SHAPE` */
function marginsOf(given: unknown, lengths: readonly number[]): number[] {
  const pairs = lengths.reduce((sum, length) => sum + length, 0);
  const count = pairs - lengths.length;
  const needed = 'a list of the margin of each negative, or of the score of each pair';
  if (!Array.isArray(given)) throw refused('labels', given, needed);
  const wrong = given.findIndex((label) => !Number.isFinite(label));
  if (wrong >= 0) throw refused(`labels[${wrong}]`, given[wrong], 'a finite number');
  if (given.length !== count && given.length !== pairs)
    throw new GradCacheError(
      'SHAPE',
      `There are ${given.length} labels; ${count} margins or ${pairs} scores are needed.`,
    );
  const labels = given as readonly number[];
  let next = 0;
  return lengths.flatMap((length) => {
    if (labels.length === count) {
      const margins = labels.slice(next, next + length - 1);
      next += length - 1;
      return [0, ...margins];
    }
    const scores = labels.slice(next, next + length);
    next += length;
    return scores.map((score) => scores[0]! - score);
  });
}
