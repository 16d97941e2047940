import { checkKnown } from '../options/known-options.js';
import {
  activationNamed,
  like,
  neededLabels,
  requireOneLogit,
  type LogitActivation,
  type PairLoss,
} from './pair-logits.js';

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
 */
export function scoreMSE(options: ScoreMSEOptions = {}): PairLoss {
  checkKnown('scoreMSE', options, ['activation']);
  const activate = activationNamed(options.activation ?? 'identity');
  return (logits, options) => {
    checkKnown('the loss of scoreMSE', options, ['labels']);
    requireOneLogit(logits);
    const labels = like(logits, neededLabels(options['labels'], logits.shape[0]!));
    const difference = activate(logits).reshape([-1]).sub(labels);
    return difference.mul(difference).mean();
  };
}
