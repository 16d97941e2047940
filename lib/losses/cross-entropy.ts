import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { requiredLabels } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, like, pairLoss, type LogitActivation } from './pair-loss.js';

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
const LABEL = 'the class of each pair';

/**
 * Which of several classes a pair of texts is of, for a {@link CrossEncoder} with as many labels: the mean over pairs of the
 * cross-entropy. It is `CrossEntropyLoss` of sentence-transformers' cross-encoders.
 *
 * Towers: the logits of pairs [P, labels]. `step([pairs], { loss: { labels } })` gives the class of each pair, from 0.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: crossEntropy() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { labels: [2, 0] } }); // the class of each pair, of the model's 3
 * ```
 */
export function crossEntropy(options: CrossEntropyOptions = {}): LossWithGradients {
  checkKnown('crossEntropy', options, ['weights', 'labelSmoothing', 'activation']);
  const { weights, labelSmoothing = 0, activation = 'identity' } = options;
  requireNumber('labelSmoothing', labelSmoothing, { from: 0, to: 1 });
  if (weights !== undefined) requireWeights(weights);
  const activate = activationNamed(activation);
  const checkLabels = (classes: number): void => {
    if (classes < 2)
      throw new GradCacheError('SHAPE', `The model has ${classes} label: this loss is for one with several.`);
    if (weights !== undefined && weights.length !== classes)
      throw new GradCacheError('SHAPE', `There are ${weights.length} weights for ${classes} labels.`);
  };
  return pairLoss({
    name: 'crossEntropy',
    takes: ['labels'],
    read: ({ labels: given }, pairs, classes) => {
      const labels = requiredLabels('crossEntropy', LABEL, given, pairs);
      requireClasses(labels, weights?.length ?? classes);
      return labels;
    },
    checkLabels,
    loss: (logits, labels) => {
      const classes = classesOf(logits);
      checkLabels(classes);
      requireClasses(labels, classes);
      return call(
        'aten::cross_entropy_loss',
        activate(logits),
        like(logits, labels).to({ dtype: 'int64' }),
        weights === undefined ? null : like(logits, weights),
        MEAN,
        IGNORED,
        labelSmoothing,
      );
    },
  });
}

/** @throws GradCacheError `INPUT` for what is no class */
function requireClasses(labels: readonly number[], classes = Infinity): void {
  const wrong = labels.findIndex((label) => !Number.isSafeInteger(label) || label < 0 || label >= classes);
  if (wrong < 0) return;
  const limit = classes === Infinity ? '' : ` to ${classes - 1}`;
  throw refused(`labels[${wrong}]`, labels[wrong], `the number of a class, from 0${limit},`);
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

/** {@link crossEntropy} in a configuration. */
export interface CrossEntropySettings {
  /** How much each class counts; null: all the same. */
  readonly weights: readonly number[] | null;
  /** The share of the target that all classes get alike, from 0 to 1. Default: 0. */
  readonly labelSmoothing: number;
  /** Applied to the logits first. Default: 'identity'. */
  readonly activation: LogitActivation;
}

/** {@link crossEntropy} in `train`. */
export const crossEntropyKind: LossKind<CrossEntropySettings> = {
  about: 'a cross-encoder: which class two texts are of',
  columns: {
    least: 2,
    most: 2,
    needed: 'two different columns, the texts of each pair',
    usual: ['sentence1', 'sentence2'],
  },
  pairs: { rows: 'pair', labels: 'several' },
  label: { type: 'class', needed: LABEL },
  comparesRows: false,
  settings: {
    weights: {
      kind: 'numbers',
      from: 0,
      default: null,
      help: 'how much each class counts; default: all alike',
    },
    labelSmoothing: {
      kind: 'number',
      from: 0,
      to: 1,
      default: 0,
      help: 'the share of the target that all classes get alike',
    },
    activation: activationSetting('identity'),
  },
  make: ({ weights, ...settings }) => crossEntropy({ ...settings, ...(weights && { weights }) }),
};
