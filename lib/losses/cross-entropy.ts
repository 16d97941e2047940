import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { activationNamed, like, neededLabels, type LogitActivation, type PairLoss } from './pair-logits.js';

/** Settings of {@link crossEntropy}. */
export interface CrossEntropyOptions {
  /** How much each class counts, a number from 0 for each. Default: all the same. */
  readonly weights?: readonly number[];
  /** The share of the target that all classes get alike, from 0 to 1. Default: 0. */
  readonly labelSmoothing?: number;
  /** Applied to the logits before the loss, which has a softmax of its own. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

const MEAN = 1;
const IGNORED = -100;

/**
 * Which of several classes a pair of texts is of, for a {@link CrossEncoder} with as many labels: the mean over pairs of the
 * cross-entropy. It is `CrossEntropyLoss` of sentence-transformers' cross-encoders.
 *
 * Towers: the logits of pairs [P, labels]. `step([pairs], { loss: { labels } })` gives the class of each pair, from 0.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function crossEntropy(options: CrossEntropyOptions = {}): PairLoss {
  checkKnown('crossEntropy', options, ['weights', 'labelSmoothing', 'activation']);
  const { weights, labelSmoothing = 0, activation = 'identity' } = options;
  requireNumber('labelSmoothing', labelSmoothing, { from: 0, to: 1 });
  if (weights !== undefined) requireWeights(weights);
  const activate = activationNamed(activation);
  return (logits, options) => {
    checkKnown('the loss of crossEntropy', options, ['labels']);
    const classes = classesOf(logits);
    if (weights !== undefined && weights.length !== classes)
      throw new GradCacheError('SHAPE', `There are ${weights.length} weights for ${classes} labels.`);
    const labels = neededLabels(options['labels'], logits.shape[0]!);
    const wrong = labels.findIndex((label) => !Number.isInteger(label) || label < 0 || label >= classes);
    if (wrong >= 0)
      throw refused(`labels[${wrong}]`, labels[wrong], `the number of a class, from 0 to ${classes - 1},`);
    return call(
      'aten::cross_entropy_loss',
      activate(logits),
      like(logits, labels).to({ dtype: 'int64' }),
      weights === undefined ? null : like(logits, weights),
      MEAN,
      IGNORED,
      labelSmoothing,
    );
  };
}

function requireWeights(weights: unknown): void {
  if (!Array.isArray(weights)) throw refused('weights', weights, 'a list with a number for each class');
  for (const [label, weight] of weights.entries()) requireNumber(`weights[${label}]`, weight, { from: 0 });
}

/** @throws GradCacheError `SHAPE` */
function classesOf({ shape }: Tensor): number {
  const [, classes = 0] = shape;
  if (shape.length === 2 && classes >= 2) return classes;
  throw new GradCacheError(
    'SHAPE',
    `The logits are [${shape.join()}]; [pairs, labels] with two labels or more is needed.`,
  );
}
