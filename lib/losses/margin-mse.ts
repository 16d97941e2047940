import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireOneOf } from '../options/option-values.js';
import { SIMILARITIES, type Similarity } from '../options/similarity.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { labelMatrix } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { DOT_OR_ANOTHER, pairScores } from './pair-scores.js';
import { tensorLoss } from './tensor-loss.js';
import { marginsOrScores } from './row-labels.js';

/** Settings of {@link marginMSE}. */
export interface MarginMSEOptions {
  /** Default: dot. */
  readonly similarity?: Similarity;
}

const COLUMNS = {
  least: 3,
  needed: 'three or more different columns: query, positive, negatives',
};
const LABEL =
  "for each row the teacher's margin for each negative, or its scores of the positive and each negative";

/**
 * Margin-MSE (Hofstätter et al. 2020): the margin of the positive over each negative is to be that of a teacher,
 * `mean((sim(query, positive) - sim(query, negative_k) - label_k)^2)`: MarginMSELoss of sentence-transformers.
 *
 * Towers: queries, positives, and K negatives, [N, d] each. `step(inputs, { loss: { labels } })` gives the teacher's margins:
 * [N, K], for one negative also [N]; or its scores [N, K + 1], the positive's first.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model, model], loss: marginMSE() });
 * await gradcache.step([queries, positives, negatives].map((texts) => model.tokenize(texts)), { loss: { labels: [6.8] } }); // by how much the teacher prefers the positive
 * ```
 */
export function marginMSE(options: MarginMSEOptions = {}): LossWithGradients {
  checkKnown('marginMSE', options, ['similarity']);
  const { similarity = 'dot' } = options;
  requireOneOf('similarity', similarity, SIMILARITIES);
  return tensorLoss({
    name: 'marginMSE',
    sparse: 'columns',
    towers: COLUMNS,
    sharing: 'rows',
    labels: (given, rows, towers) => {
      const labels = labelMatrix('marginMSE', LABEL, given, rows);
      const negatives = towers - 2;
      const [, numbers = 1, ...more] = labels.shape;
      if (more.length === 0 && (numbers === negatives || numbers === negatives + 1)) return labels;
      throw new GradCacheError(
        'SHAPE',
        `The labels of marginMSE are [${labels.shape.join()}]; [${rows}, ${negatives}] margins or ` +
          `[${rows}, ${negatives + 1}] scores are needed.`,
      );
    },
    loss: ([query, positive, ...negatives], labels) => {
      const score = (other: Tensor): Tensor => pairScores(similarity, query!, other);
      const given = labels.like(query!).reshape([query!.shape[0]!, -1]);
      const [, numbers] = given.shape as [number, number];
      const wanted =
        numbers === negatives.length
          ? given
          : given.narrow(1, 0, 1).sub(given.narrow(1, 1, negatives.length));
      const margins: Tensor = call('aten::stack', negatives.map(score), 1);
      const errors = score(positive!).reshape([-1, 1]).sub(margins).sub(wanted);
      return errors.mul(errors).mean();
    },
  });
}

/** Margin-MSE in a configuration. */
export interface MarginMSESettings {
  /** Default 'dot'. The saved model records it. */
  readonly similarity: Similarity;
}

/** {@link marginMSE} in `train`. */
export const marginMSEKind: LossKind<MarginMSESettings> = {
  about: "margins of positives over negatives like a teacher's",
  columns: COLUMNS,
  label: { type: 'numbers', needed: LABEL, needs: marginsOrScores },
  comparesRows: false,
  settings: { similarity: DOT_OR_ANOTHER },
  make: (settings) => marginMSE(settings),
};
