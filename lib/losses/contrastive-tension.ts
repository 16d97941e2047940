import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import { MATCH_LABEL, PAIR_COLUMNS } from './contrastive.js';
import { infoNCE } from './info-nce.js';
import { labelMatrix, requiredLabels } from './labels.js';
import type { TrainedLoss } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { pairScores } from './pair-scores.js';
import { tensorLoss } from './tensor-loss.js';

/** The reduction of libtorch's operator. */
const SUM = 2;

/**
 * Contrastive tension (Carlsson et al. 2021), from texts alone: two encoders that begin alike and are trained apart are to give
 * equal texts (label 1) a large dot product and others (label 0) a small one. The sum, not the mean, over pairs of the binary cross
 * entropy of `sigmoid(dot product)`: ContrastiveTensionLoss of sentence-transformers.
 *
 * Towers: [N, d] and [N, d], of two encoders; the second is the model that is used afterwards, as there.
 * `step(inputs, { loss: { labels } })` gives the label of each pair: usually one pair of a text with itself to seven of two texts.
 *
 * @example
 * ```ts
 * const [first, model] = [await TextEncoder.load('my-model'), await TextEncoder.load('my-model')];
 * const gradcache = new GradCache({ encoders: [first, model], loss: contrastiveTension() });
 * ```
 *
 * @throws GradCacheError at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function contrastiveTension(): LossWithGradients {
  return tensorLoss({
    name: 'contrastiveTension',
    towers: PAIR_COLUMNS,
    labels: (given, rows) => {
      const labels = requiredLabels('contrastiveTension', MATCH_LABEL, given, rows);
      const wrong = labels.findIndex((label) => label !== 0 && label !== 1);
      if (wrong >= 0) throw refused(`labels[${wrong}]`, labels[wrong], '0 or 1');
      return labelMatrix('contrastiveTension', MATCH_LABEL, labels, rows);
    },
    loss: ([first, second], labels) => {
      const scores = pairScores('dot', first!, second!);
      return call('aten::binary_cross_entropy_with_logits', scores, labels.like(scores), null, null, SUM);
    },
  });
}

/** Settings of {@link contrastiveTensionInBatch}. */
export interface ContrastiveTensionInBatchOptions {
  /** Similarities are multiplied by it in the beginning; it is learned. Above 0. Default: 20. */
  readonly scale?: number;
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
}

/** A learned scale of contrastive tension is not limited, but by what float32 can tell apart from 0. */
const UNLIMITED = [1e-30, 1e30] as const;

/**
 * {@link contrastiveTension} with all other texts of the batch as negatives: {@link infoNCE} in both directions over the same
 * texts in two encoders, with a learned temperature that has no bounds. ContrastiveTensionLossInBatchNegatives of
 * sentence-transformers.
 *
 * Towers: [N, d] and [N, d], the same texts by two encoders.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step as {@link infoNCE}
 * @example
 * ```ts
 * const [first, model] = [await TextEncoder.load('my-model'), await TextEncoder.load('my-model')];
 * const gradcache = new GradCache({ encoders: [first, model], loss: contrastiveTensionInBatch() });
 * await gradcache.step([first.tokenize(texts), model.tokenize(texts)]);
 * ```
 */
export function contrastiveTensionInBatch(options: ContrastiveTensionInBatchOptions = {}): TrainedLoss {
  checkKnown('contrastiveTensionInBatch', options, ['scale', 'similarity']);
  const { scale = 20, similarity = 'cosine' } = options;
  requireNumber('scale', scale, { from: 1e-30, to: 1e30 });
  const temperature = { initial: 1 / scale, learned: true, bounds: UNLIMITED };
  return infoNCE({ symmetric: true, similarity, temperature });
}
