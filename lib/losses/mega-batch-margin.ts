import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import type { LossKind } from './loss-kind.js';
import { fixedNumber } from './loss-number.js';
import type { LossWithGradients } from './loss.js';
import { requireRowsOf } from './tensor-loss.js';
import { TiledLoss } from './tiled-loss.js';

const COLUMNS = { least: 2, most: 2, needed: 'two different columns: anchor, positive' } as const;

/** Settings of {@link megaBatchMargin}. */
export interface MegaBatchMarginOptions {
  /** The cosine that an anchor's positive is drawn to. Default 0.8. */
  readonly positiveMargin?: number;
  /** The cosine that its hardest negative is pushed to. Default 0.3. */
  readonly negativeMargin?: number;
}

/**
 * The margin loss of large batches (Wieting & Gimpel 2018; sentence-transformers' MegaBatchMarginLoss). An anchor's hardest
 * negative is the nearest positive of another anchor. The mean over anchors of
 * `relu(positiveMargin - cos(a, p)) + relu(cos(a, hardest negative) - negativeMargin)`.
 *
 * Towers: anchors [N, d], positives [N, d]. Batches of 500 pairs and more suit it. Computed in tiles.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: megaBatchMargin() });
 * await gradcache.step([model.tokenize(anchors), model.tokenize(positives)]);
 * ```
 */
export function megaBatchMargin(options: MegaBatchMarginOptions = {}): LossWithGradients {
  checkKnown('megaBatchMargin', options, ['positiveMargin', 'negativeMargin']);
  const { positiveMargin = 0.8, negativeMargin = 0.3 } = options;
  requireNumber('positiveMargin', positiveMargin);
  requireNumber('negativeMargin', negativeMargin);
  return new TiledLoss({
    name: 'mega_batch_margin',
    cosine: true,
    numbers: { scale: fixedNumber(1) },
    settings: (given, _, rows) => {
      checkKnown('the loss of megaBatchMargin', given, []);
      requireRowsOf('megaBatchMargin', COLUMNS, rows);
      return { positiveMargin, negativeMargin };
    },
  });
}

/** The same in `train`. */
export const megaBatchMarginKind: LossKind<Required<MegaBatchMarginOptions>> = {
  about: "each anchor's positive and its hardest negative, against two margins",
  columns: COLUMNS,
  settings: {
    positiveMargin: {
      kind: 'number',
      default: 0.8,
      help: 'the cosine that positives are drawn to; default 0.8',
    },
    negativeMargin: {
      kind: 'number',
      default: 0.3,
      help: 'the cosine that negatives are pushed to; default 0.3',
    },
  },
  make: (settings) => megaBatchMargin(settings),
};
