import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { listsOf } from './lists.js';
import { activationNamed, type LogitActivation, type PairLoss } from './pair-logits.js';

/** Settings of {@link crossEncoderRanking}; the defaults are those of sentence-transformers. */
export interface CrossEncoderRankingOptions {
  /** Activated logits are multiplied by it; above 0. Default: 10. */
  readonly scale?: number;
  /** Applied to the logits first. Default: 'sigmoid'. */
  readonly activation?: LogitActivation;
}

/**
 * The ranking loss of a {@link CrossEncoder}: each anchor's positive against its negatives. It is
 * `CachedMultipleNegativesRankingLoss` of sentence-transformers' cross-encoders: the mean over anchors of the cross-entropy
 * of `scale * activation(logits)` with the first pair of each anchor as the target.
 *
 * Towers: the logits of pairs [P, 1], anchor after anchor, each anchor's positive first. `rankingPairs` makes such pairs with
 * seeded draws of negatives. `step([pairs], { loss: { lists } })` gives the number of pairs of each anchor, which may differ.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function crossEncoderRanking(options: CrossEncoderRankingOptions = {}): PairLoss {
  checkKnown('crossEncoderRanking', options, ['scale', 'activation']);
  const { scale = 10, activation = 'sigmoid' } = options;
  requireNumber('scale', scale, { above: 0 });
  const activate = activationNamed(activation);
  return (logits, options) => {
    checkKnown('the loss of crossEncoderRanking', options, ['lists']);
    const { scores } = listsOf(activate(logits).mul(scale), options['lists'], -Infinity);
    const positives = scores.narrow(1, 0, 1).reshape([-1]);
    return scores.logsumexp(1).sub(positives).mean();
  };
}
