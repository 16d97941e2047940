import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { classesOf } from './class-settings.js';
import type { LossKind } from './loss-kind.js';
import { fixedNumber } from './loss-number.js';
import type { LossWithGradients } from './loss.js';
import { TiledLoss } from './tiled-loss.js';

/** Settings of {@link multiSimilarity}. */
export interface MultiSimilarityOptions {
  /** How sharply positives are weighted. Default 2. */
  readonly alpha?: number;
  /** How sharply negatives are weighted. Default 50. */
  readonly beta?: number;
  /** The cosine from which a pair counts. Default 0.5. */
  readonly base?: number;
  /**
   * Mines pairs: a negative counts only if its cosine plus this is above that of the row's farthest positive, a positive only
   * if its cosine minus this is below that of the nearest negative. The paper has 0.1. Default null: all pairs count.
   */
  readonly epsilon?: number | null;
}

/**
 * The multi-similarity loss (Wang et al. 2019; pytorch-metric-learning's MultiSimilarityLoss, with its MultiSimilarityMiner
 * where `epsilon` is given). For each row, with cosines s of its positives p and negatives n:
 * `1/alpha log(1 + sum exp(-alpha (s_p - base))) + 1/beta log(1 + sum exp(beta (s_n - base)))`, the mean over rows.
 *
 * Towers and `labels` are those of {@link supCon}. Computed in tiles.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: multiSimilarity() });
 * await gradcache.step([model.tokenize(texts)], { loss: { labels: [0, 1, 0, 1] } }); // the class of each text
 * ```
 */
export function multiSimilarity(options: MultiSimilarityOptions = {}): LossWithGradients {
  checkKnown('multiSimilarity', options, ['alpha', 'beta', 'base', 'epsilon']);
  const { alpha = 2, beta = 50, base = 0.5, epsilon = null } = options;
  requireNumber('alpha', alpha, { above: 0 });
  requireNumber('beta', beta, { above: 0 });
  requireNumber('base', base);
  if (epsilon !== null) requireNumber('epsilon', epsilon);
  return new TiledLoss({
    name: 'multi_similarity',
    cosine: true,
    numbers: { scale: fixedNumber(1) },
    settings: (given, _, rows) => {
      checkKnown('the loss of multiSimilarity', given, ['labels']);
      return { alpha, beta, base, epsilon, classes: classesOf('multiSimilarity', given, rows) };
    },
  });
}

/** The same in `train`. */
export const multiSimilarityKind: LossKind<Required<MultiSimilarityOptions>> = {
  about: 'near negatives pushed and far positives drawn, by classes',
  columns: { least: 1, needed: 'one or more different columns of texts', usual: ['text'] },
  label: { type: 'class', needed: 'the class of each row' },
  settings: {
    alpha: { kind: 'number', above: 0, default: 2, help: 'how sharply positives are weighted; default 2' },
    beta: { kind: 'number', above: 0, default: 50, help: 'how sharply negatives are weighted; default 50' },
    base: { kind: 'number', default: 0.5, help: 'the cosine from which a pair counts; default 0.5' },
    epsilon: {
      kind: 'number',
      default: null,
      help: 'mine pairs within this of the hardest (the paper: 0.1); default all pairs',
    },
  },
  make: (settings) => multiSimilarity(settings),
};
