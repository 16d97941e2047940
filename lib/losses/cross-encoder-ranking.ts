import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { lengthsOf, listsOf } from './lists.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { activationNamed, activationSetting, pairLoss, type LogitActivation } from './pair-loss.js';

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
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [reranker], loss: crossEncoderRanking() });
 * const { pairs, lists } = rankingPairs([queries, answers], { negatives: 4 });
 * await gradcache.step([reranker.tokenize(pairs)], { loss: { lists } });
 * ```
 */
export function crossEncoderRanking(options: CrossEncoderRankingOptions = {}): LossWithGradients {
  checkKnown('crossEncoderRanking', options, ['scale', 'activation']);
  const { scale = 10, activation = 'sigmoid' } = options;
  requireNumber('scale', scale, { above: 0 });
  const activate = activationNamed(activation);
  return pairLoss({
    name: 'crossEncoderRanking',
    takes: ['lists'],
    read: lengthsOf,
    loss: (logits, lengths) => {
      const { scores } = listsOf(activate(logits).mul(scale), lengths, -Infinity);
      const positives = scores.narrow(1, 0, 1).reshape([-1]);
      return scores.logsumexp(1).sub(positives).mean();
    },
  });
}

/** {@link crossEncoderRanking} in a configuration. */
export interface CrossEncoderRankingSettings extends Required<CrossEncoderRankingOptions> {
  /** Negatives drawn for each anchor from the other rows of the batch, or all where there are not so many. Default: 4. */
  readonly negatives: number;
}

/** {@link crossEncoderRanking} in `train`. */
export const crossEncoderRankingKind: LossKind<CrossEncoderRankingSettings> = {
  about: "a cross-encoder: each anchor's positive before drawn and hard negatives",
  columns: { least: 2, needed: 'two or more different columns: anchor, positive, hard negatives' },
  pairs: { rows: 'ranking', labels: 'one', negatives: ({ negatives }) => negatives },
  settings: {
    scale: { kind: 'number', above: 0, default: 10, help: 'multiplies activated logits' },
    activation: activationSetting('sigmoid'),
    negatives: { kind: 'number', from: 0, whole: true, default: 4, help: 'negatives drawn for each anchor' },
  },
  make: ({ scale, activation }) => crossEncoderRanking({ scale, activation }),
};
