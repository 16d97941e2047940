import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import { requiredLabels } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import {
  activationNamed,
  activationSetting,
  like,
  pairLoss,
  requireOneLogit,
  type LogitActivation,
} from './pair-loss.js';
import { fromZeroToOne } from './row-labels.js';

/** Settings of {@link binaryCrossEntropy}. */
export interface BinaryCrossEntropyOptions {
  /** How much a pair with label 1 counts, against one with label 0; above 0. Default: 1. */
  readonly positiveWeight?: number;
  /** Applied to the logits before the loss, which has a sigmoid of its own. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

const MEAN = 1;
const LABEL = 'a number from 0 to 1 for each pair';

/**
 * Whether two texts belong together, for a {@link CrossEncoder} with one label: the mean over pairs of
 * `-(w y log(sigmoid(x)) + (1 - y) log(1 - sigmoid(x)))`. It is `BinaryCrossEntropyLoss` of sentence-transformers.
 *
 * Towers: the logits of pairs [P, 1]. `step([pairs], { loss: { labels } })` gives the label of each pair, from 0 to 1.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: binaryCrossEntropy() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { labels: [1, 0] } });
 * ```
 */
export function binaryCrossEntropy(options: BinaryCrossEntropyOptions = {}): LossWithGradients {
  checkKnown('binaryCrossEntropy', options, ['positiveWeight', 'activation']);
  const { positiveWeight = 1, activation = 'identity' } = options;
  requireNumber('positiveWeight', positiveWeight, { above: 0 });
  const activate = activationNamed(activation);
  return pairLoss({
    name: 'binaryCrossEntropy',
    takes: ['labels'],
    read: ({ labels: given }, pairs) => {
      const labels = requiredLabels('binaryCrossEntropy', LABEL, given, pairs);
      const wrong = labels.findIndex((label) => label < 0 || label > 1);
      if (wrong >= 0) throw refused(`labels[${wrong}]`, labels[wrong], 'a number from 0 to 1');
      return labels;
    },
    loss: (logits, labels) => {
      requireOneLogit(logits);
      return call(
        'aten::binary_cross_entropy_with_logits',
        activate(logits).reshape([-1]),
        like(logits, labels),
        null,
        like(logits, [positiveWeight]),
        MEAN,
      );
    },
  });
}

/** {@link binaryCrossEntropy} in `train`. */
export const binaryCrossEntropyKind: LossKind<Required<BinaryCrossEntropyOptions>> = {
  about: 'a cross-encoder: whether two texts belong together',
  columns: {
    least: 2,
    most: 2,
    needed: 'two different columns, the texts of each pair',
    usual: ['sentence1', 'sentence2'],
  },
  pairs: { rows: 'pair', labels: 'one' },
  label: { type: 'number', needed: LABEL, needs: fromZeroToOne },
  comparesRows: false,
  settings: {
    positiveWeight: { kind: 'number', above: 0, default: 1, help: 'how much a pair with label 1 counts' },
    activation: activationSetting('identity'),
  },
  make: (settings) => binaryCrossEntropy(settings),
};
