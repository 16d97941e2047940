import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { InfoNCE, type InfoNCELoss } from './info-nce.js';
import type { LossKind } from './loss-kind.js';
import { fixedNumber } from './loss-number.js';
import {
  checkRanking,
  RANKING_OPTIONS,
  RANKING_SETTINGS,
  rankingFrom,
  rankingOptions,
  type RankingOptions,
  type RankingSettings,
} from './ranking.js';

/** Settings of {@link multipleNegativesRanking}. */
export interface MultipleNegativesRankingOptions extends RankingOptions {
  /** Similarities are multiplied by it; above 0. Default 20. */
  readonly scale?: number;
}

/**
 * {@link infoNCE} with the names and defaults of sentence-transformers' `MultipleNegativesRankingLoss` and
 * `CachedMultipleNegativesRankingLoss`: value and gradients are theirs. `MultipleNegativesSymmetricRankingLoss` is
 * `{ directions: ['query_to_doc', 'doc_to_query'], partitionMode: 'per_direction' }`.
 *
 * Towers and the options of a step are those of {@link infoNCE}.
 *
 * @throws GradCacheError `INPUT` for settings that do not fit; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: multipleNegativesRanking({ scale: 20 }) });
 * await gradcache.step([model.tokenize(anchors), model.tokenize(positives)]);
 * ```
 */
export function multipleNegativesRanking(options: MultipleNegativesRankingOptions = {}): InfoNCELoss {
  checkKnown('multipleNegativesRanking', options, [...RANKING_OPTIONS, 'scale']);
  const { scale = 20, ...ranking } = options;
  requireNumber('scale', scale, { above: 0 });
  const temperature = () => 1 / scale;
  return new InfoNCE({ scale: fixedNumber(scale), temperature }, fixedNumber(0), rankingFrom(ranking));
}

/** {@link MultipleNegativesRankingOptions} in a configuration. */
export interface MultipleNegativesRankingSettings extends RankingSettings {
  /** Multiplies similarities. Default: 20. */
  readonly scale: number;
}

/** The same in `train`. */
export const multipleNegativesRankingKind: LossKind<MultipleNegativesRankingSettings> = {
  about: 'infonce, by the names of sentence-transformers',
  columns: { least: 2, needed: 'two or more different columns: anchor, positive, hard negatives' },
  takesMemory: true,
  takesLists: true,
  takesWeights: true,
  settings: {
    scale: { kind: 'number', above: 0, default: 20, help: 'multiplies similarities; default 20' },
    ...RANKING_SETTINGS,
  },
  check: checkRanking,
  make: ({ scale, ...settings }, model) =>
    multipleNegativesRanking({ scale, ...rankingOptions(settings, model) }),
  masksDuplicates: ({ maskDuplicates }) => maskDuplicates,
  temperature: ({ scale }) => 1 / scale,
};
