import { checkKnown } from '../options/known-options.js';
import { requireFunction } from '../options/option-values.js';
import type { Tensor } from '../tensor/tensor.js';
import { labelMatrix, requiredLabels } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { pairCosines } from './pair-scores.js';
import { tensorLoss } from './tensor-loss.js';
import { inFloat32 } from './row-labels.js';

/** Settings of {@link cosineSimilarity}. */
export interface CosineSimilarityOptions {
  /** What is made of the cosines [N] before they are compared with the labels. Default: nothing. */
  readonly transform?: (cosines: Tensor) => Tensor;
  /** The loss of transformed cosines [N] and labels [N], a scalar. Default: the mean squared error. */
  readonly error?: (predicted: Tensor, labels: Tensor) => Tensor;
}

const COLUMNS = {
  least: 2,
  most: 2,
  needed: 'two different columns, the two texts of a pair,',
  usual: ['sentence1', 'sentence2'],
};
const LABEL = 'the cosine that each pair should have';

/**
 * The mean squared error of the cosines of pairs, `mean((cos(a, b) - label)^2)`: CosineSimilarityLoss of
 * sentence-transformers. Labels are rounded to float32, as there.
 *
 * Towers: [N, d] and [N, d]. `step(inputs, { loss: { labels } })` gives the cosine that each pair should have.
 *
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: cosineSimilarity() });
 * await gradcache.step([model.tokenize(first), model.tokenize(second)], { loss: { labels: [0.9, 0.1] } });
 * ```
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function cosineSimilarity(options: CosineSimilarityOptions = {}): LossWithGradients {
  checkKnown('cosineSimilarity', options, ['transform', 'error']);
  const { transform = (cosines) => cosines, error = squaredError } = options;
  requireFunction('transform', transform);
  requireFunction('error', error);
  return tensorLoss({
    name: 'cosineSimilarity',
    sparse: 'columns',
    towers: COLUMNS,
    // Another error need be no mean.
    sharing: options.error === undefined ? 'rows' : undefined,
    labels: (given, rows) =>
      labelMatrix(
        'cosineSimilarity',
        LABEL,
        requiredLabels('cosineSimilarity', LABEL, given, rows).map(Math.fround),
        rows,
      ),
    loss: ([first, second], labels) => {
      const cosines = pairCosines(first!, second!);
      return error(transform(cosines), labels.like(cosines));
    },
  });
}

function squaredError(predicted: Tensor, labels: Tensor): Tensor {
  const difference = predicted.sub(labels);
  return difference.mul(difference).mean();
}

/** {@link cosineSimilarity} in `train`. */
export const cosineSimilarityKind: LossKind<object> = {
  about: 'the cosine of a pair near its score',
  columns: COLUMNS,
  label: { type: 'number', needed: LABEL, needs: inFloat32 },
  comparesRows: false,
  settings: {},
  make: () => cosineSimilarity(),
};
