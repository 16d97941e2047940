import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireOneOf } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { SIMILARITY, type LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { tensorLoss } from './tensor-loss.js';

/** Settings of {@link globalOrthogonalRegularization}. */
export interface GlobalOrthogonalRegularizationOptions {
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
  /** Multiplies the squared mean of the similarities. 0: without it. Default 1. */
  readonly meanWeight?: number;
  /** Multiplies how far the mean of squared similarities is above 1 / d. 0: without it. Default 1. */
  readonly secondMomentWeight?: number;
  /** The mean over towers ('mean', the default) or the sum. */
  readonly aggregation?: 'mean' | 'sum';
}

const COLUMNS = { least: 1, needed: 'one or more different columns of texts', usual: ['text'] };
const AGGREGATIONS = ['mean', 'sum'] as const;
const NO_WEIGHT = 'meanWeight or secondMomentWeight must be above 0: otherwise there is no loss.';

/**
 * Spreads the representations of each tower over the sphere, as if they were random (Zhang et al. 2017):
 * `meanWeight * mean(S)^2 + secondMomentWeight * max(0, mean(S^2) - 1 / d)`, where S are the similarities of different rows:
 * GlobalOrthogonalRegularizationLoss of sentence-transformers. It is meant to be added to another loss. It takes N d memory
 * at most, never N^2.
 *
 * Towers: one or more, [N, d] each.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: globalOrthogonalRegularization() });
 * await gradcache.step([model.tokenize(anchors), model.tokenize(positives)]);
 * ```
 */
export function globalOrthogonalRegularization(
  options: GlobalOrthogonalRegularizationOptions = {},
): LossWithGradients {
  const names = ['similarity', 'meanWeight', 'secondMomentWeight', 'aggregation'];
  checkKnown('globalOrthogonalRegularization', options, names);
  const { similarity = 'cosine', meanWeight = 1, secondMomentWeight = 1, aggregation = 'mean' } = options;
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  requireNumber('meanWeight', meanWeight, { from: 0 });
  requireNumber('secondMomentWeight', secondMomentWeight, { from: 0 });
  requireOneOf('aggregation', aggregation, AGGREGATIONS);
  if (meanWeight === 0 && secondMomentWeight === 0) throw new GradCacheError('INPUT', NO_WEIGHT);
  return tensorLoss({
    name: 'globalOrthogonalRegularization',
    towers: COLUMNS,
    loss: (towers) => {
      const terms = towers.map((tower) => {
        const { mean, squares } = offDiagonal(similarity === 'cosine' ? tower.normalize() : tower);
        const spread = squares.sub(1 / tower.shape[1]!).relu();
        return mean.mul(mean).mul(meanWeight).add(spread.mul(secondMomentWeight));
      });
      const sum = terms.reduce((all, term) => all.add(term));
      return aggregation === 'sum' ? sum : sum.div(towers.length);
    },
  });
}

/**
 * The mean of the products of different rows, and of their squares. The sum of all products is the square of the sum of
 * rows. That of their squares is the same for X X^T [N, N] and X^T X [d, d]: the smaller one is made.
 */
function offDiagonal(rows: Tensor): { mean: Tensor; squares: Tensor } {
  const [count, dimension] = rows.shape as [number, number];
  const pairs = Math.max(count * (count - 1), 1);
  if (count <= dimension) {
    const products = rows.matmul(rows.t());
    const others = products.sub(call('aten::diag', call('aten::diag', products)));
    return { mean: others.sum().div(pairs), squares: others.mul(others).sum().div(pairs) };
  }
  const own = rows.mul(rows).sum(1);
  const sum = rows.sum(0);
  const products = rows.t().matmul(rows);
  return {
    mean: sum.mul(sum).sum().sub(own.sum()).div(pairs),
    squares: products.mul(products).sum().sub(own.mul(own).sum()).div(pairs),
  };
}

/** {@link globalOrthogonalRegularization} in `train`. */
export const globalOrthogonalRegularizationKind: LossKind<Required<GlobalOrthogonalRegularizationOptions>> = {
  about: 'representations spread over the sphere',
  columns: COLUMNS,
  settings: {
    similarity: SIMILARITY,
    meanWeight: {
      kind: 'number',
      from: 0,
      default: 1,
      help: 'of the squared mean of similarities; default 1',
    },
    secondMomentWeight: { kind: 'number', from: 0, default: 1, help: 'of the mean of squares; default 1' },
    aggregation: {
      kind: 'choice',
      accepted: AGGREGATIONS,
      default: 'mean',
      help: 'over columns: mean (default) or sum',
    },
  },
  check: ({ meanWeight, secondMomentWeight }) => {
    if (meanWeight === 0 && secondMomentWeight === 0) throw new GradCacheError('INPUT', NO_WEIGHT);
  },
  make: (settings) => globalOrthogonalRegularization(settings),
};
