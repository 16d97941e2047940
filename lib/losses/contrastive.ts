import { checkKnown } from '../options/known-options.js';
import { requireBoolean, requireNumber, requireOneOf } from '../options/option-values.js';
import { labelMatrix, requiredLabels } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { DISTANCES, pairDistances, type Distance } from './pair-scores.js';
import { tensorLoss } from './tensor-loss.js';
import { inFloat32 } from './row-labels.js';

/** Settings of {@link contrastive}. */
export interface ContrastiveOptions {
  /** Default: cosine, which is 1 minus the cosine. */
  readonly distance?: Distance;
  /** Pairs that do not match are pushed apart until they are so far apart. Default 0.5. */
  readonly margin?: number;
  /** The mean over pairs; false: the sum. Default true. */
  readonly average?: boolean;
}

/** Columns of pairs that match or not. */
export const PAIR_COLUMNS = {
  least: 2,
  most: 2,
  needed: 'two different columns, the two texts of a pair,',
  usual: ['sentence1', 'sentence2'],
};

/** Their label. */
export const MATCH_LABEL = 'for each pair 1 if it matches and 0 if not';

/**
 * The contrastive loss (Hadsell et al. 2006) of pairs that match (label 1) or not (0):
 * `(label * D^2 + (1 - label) * max(0, margin - D)^2) / 2`, where D is the distance of a pair: ContrastiveLoss of
 * sentence-transformers. Other labels than 0 and 1 weigh both terms. The numbers of a difference are increased by 1e-6 for
 * Euclidean and Manhattan distances, as there.
 *
 * Towers: [N, d] and [N, d]. `step(inputs, { loss: { labels } })` gives the label of each pair.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: contrastive({ margin: 0.5 }) });
 * await gradcache.step([model.tokenize(first), model.tokenize(second)], { loss: { labels: [1, 0] } }); // 1: the pair matches
 * ```
 */
export function contrastive(options: ContrastiveOptions = {}): LossWithGradients {
  checkKnown('contrastive', options, ['distance', 'margin', 'average']);
  const { distance = 'cosine', margin = 0.5, average = true } = options;
  requireOneOf('distance', distance, DISTANCES);
  requireNumber('margin', margin);
  requireBoolean('average', average);
  return tensorLoss({
    name: 'contrastive',
    towers: PAIR_COLUMNS,
    sharing: average ? 'rows' : undefined,
    labels: (given, rows) => {
      const labels = requiredLabels('contrastive', MATCH_LABEL, given, rows);
      const matrix = (values: number[]) =>
        labelMatrix('contrastive', MATCH_LABEL, values.map(Math.fround), rows);
      return { match: matrix(labels), differ: matrix(labels.map((label) => 1 - label)) };
    },
    loss: ([first, second], { match, differ }) => {
      const distances = pairDistances(distance, first!, second!);
      const short = distances.neg().add(margin).relu();
      const drawn = distances.mul(distances).mul(match.like(distances));
      const terms = drawn.add(short.mul(short).mul(differ.like(distances))).mul(0.5);
      return average ? terms.mean() : terms.sum();
    },
  });
}

/** The settings of losses of pairs that match or not, in a configuration. */
export const PAIR_SETTINGS = {
  distance: {
    kind: 'choice',
    accepted: DISTANCES,
    default: 'cosine',
    help: 'cosine (default), euclidean or manhattan',
  },
  margin: {
    kind: 'number',
    default: 0.5,
    help: 'how far pairs that do not match are pushed apart; default 0.5',
  },
} as const;

/** {@link contrastive} in `train`. */
export const contrastiveKind: LossKind<Required<ContrastiveOptions>> = {
  about: 'pairs that match near each other, others a margin apart',
  columns: PAIR_COLUMNS,
  label: { type: 'number', needed: MATCH_LABEL, needs: inFloat32 },
  comparesRows: false,
  settings: {
    ...PAIR_SETTINGS,
    average: { kind: 'switch', default: true, help: 'the mean over pairs (default), not their sum' },
  },
  make: (settings) => contrastive(settings),
  similarity: ({ distance }) => distance,
};
