import { checkKnown } from '../options/known-options.js';
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
import { inFloat32 } from './row-labels.js';

/** Settings of {@link scoreMSE}. */
export interface ScoreMSEOptions {
  /** Applied to the logits first. Default: 'identity'. */
  readonly activation?: LogitActivation;
}

/**
 * Distils scores into a {@link CrossEncoder}: the mean over pairs of `(activation(logit) - label)²`. It is `MSELoss` of
 * sentence-transformers' cross-encoders.
 *
 * Towers: the logits of pairs [P, 1]. `step([pairs], { loss: { labels } })` gives the score that each pair is to have.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: scoreMSE() });
 * const pairs = reranker.tokenize([
 *   ['who wrote it', 'a document'],
 *   ['who wrote it', 'another one'],
 * ]);
 * await gradcache.step([pairs], { loss: { labels: [8.7, -2.1] } }); // the teacher's scores
 * ```
 */
export function scoreMSE(options: ScoreMSEOptions = {}): LossWithGradients {
  checkKnown('scoreMSE', options, ['activation']);
  const activate = activationNamed(options.activation);
  return pairLoss({
    name: 'scoreMSE',
    takes: ['labels'],
    read: ({ labels }, pairs) => requiredLabels('scoreMSE', LABEL, labels, pairs),
    loss: (logits, labels) => {
      requireOneLogit(logits);
      const difference = activate(logits).reshape([-1]).sub(like(logits, labels));
      return difference.mul(difference).mean();
    },
  });
}

const LABEL = 'a score for each pair';

/** {@link scoreMSE} in `train`. */
export const scoreMSEKind: LossKind<Required<ScoreMSEOptions>> = {
  about: "a cross-encoder: scores like a teacher's",
  columns: {
    least: 2,
    most: 2,
    needed: 'two different columns, the texts of each pair',
    usual: ['sentence1', 'sentence2'],
  },
  pairs: { rows: 'pair', labels: 'one' },
  label: { type: 'number', needed: LABEL, needs: inFloat32 },
  comparesRows: false,
  settings: { activation: activationSetting('identity') },
  make: (settings) => scoreMSE(settings),
};
