import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { joinPlaceOptions } from './shared-options.js';
import { targetSettings, targetsOf } from './targets.js';
import {
  checkInteraction,
  evaluatedBy,
  INTERACTION_SETTINGS,
  interactionFrom,
  interactionOptions,
  TokenLoss,
  type InteractionOptions,
  type InteractionSettings,
} from './token-loss.js';

/** Settings of {@link multiVectorMultipleNegativesRanking}. */
export interface MultiVectorRankingOptions extends InteractionOptions {
  /**
   * Scores are multiplied by it; above 0. Default 1. A MaxSim is a sum over a query's tokens, so it needs none; with
   * `'meanmaxsim'` about as much as a query has tokens is a good start.
   */
  readonly scale?: number;
}

/**
 * The contrastive loss of late interaction (ColBERT, Khattab & Zaharia 2020; sentence-transformers'
 * MultiVectorMultipleNegativesRankingLoss and its cached form): each query is to find its document among all of the batch,
 * `-log softmax(scale * score)`, mean over the queries.
 *
 * Towers: queries, documents, then any number of hard negatives, each a text with a representation for each token, as of a
 * `TextEncoder` with `pooling: 'none'`, or a {@link ModuleEncoder} that returns `counts`. Query i belongs to document i, unless
 * `step(inputs, { loss: { targets } })` gives the number of each query's document, counted through documents and hard
 * negatives. Texts of any length; a document without a token scores -1e9, as in sentence-transformers.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const model = await TextEncoder.load('my-model', { pooling: 'none' });
 * const gradcache = new GradCache({ encoders: [model, model], loss: multiVectorMultipleNegativesRanking() });
 * await gradcache.step([model.tokenize(anchors), model.tokenize(positives)]);
 * ```
 */
export function multiVectorMultipleNegativesRanking(
  options: MultiVectorRankingOptions = {},
): LossWithGradients {
  checkKnown('multiVectorMultipleNegativesRanking', options, ['scale', 'similarity', 'topK']);
  const { scale = 1 } = options;
  requireNumber('scale', scale, { above: 0 });
  return new TokenLoss({
    name: 'ranking',
    interaction: interactionFrom(options),
    joinOptions: joinPlaceOptions,
    settings: (given, { queries, rows }) => {
      checkKnown('the loss of multiVectorMultipleNegativesRanking', given, ['targets']);
      targetSettings(given, rows); // refuses what does not fit the towers
      return { scale, targets: targetsOf(given, queries) };
    },
  });
}

/** {@link multiVectorMultipleNegativesRanking} in a configuration. */
export interface MultiVectorRankingSettings extends InteractionSettings {
  /** Scores are multiplied by it. Default 1. */
  readonly scale: number;
}

/** The same in `train`. */
export const multiVectorRankingKind: LossKind<MultiVectorRankingSettings> = {
  about: "each query's document against all others, token by token",
  columns: { least: 2, needed: 'two or more different columns: query, document, hard negatives' },
  perToken: true,
  settings: {
    ...INTERACTION_SETTINGS,
    scale: { kind: 'number', above: 0, default: 1, help: 'multiplies scores' },
  },
  check: checkInteraction,
  make: ({ scale, ...settings }) =>
    multiVectorMultipleNegativesRanking({ scale, ...interactionOptions(settings) }),
  similarity: evaluatedBy,
};
