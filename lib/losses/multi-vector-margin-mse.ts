import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { labelMatrix } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { requireDocuments } from './multi-vector-distill-kl-div.js';
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
import { marginsOrScores } from './row-labels.js';

const LABEL =
  "for each query the teacher's margin for each negative, or its scores of the document and each negative";

/**
 * Margin MSE (Hofstätter et al. 2020) of late interaction, as sentence-transformers' MultiVectorMarginMSELoss: by how much
 * a query's document scores above each of its negatives is to be what a teacher says. Mean of the squared differences. By
 * `'xtr'` the best tokens are those of each tower for itself.
 *
 * Towers: queries, documents, then one or more negatives of each query, with a representation for each token.
 * `step(inputs, { loss: { labels } })` gives for each query the margins, a number for each negative, or the teacher's
 * scores of its document and each negative.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const model = await TextEncoder.load('my-model', { pooling: 'none' });
 * const gradcache = new GradCache({ encoders: [model, model, model], loss: multiVectorMarginMSE() });
 * await gradcache.step([queries, positives, negatives].map((texts) => model.tokenize(texts)), { loss: { labels: [6.8] } }); // by how much the teacher prefers the positive
 * ```
 */
export function multiVectorMarginMSE(options: InteractionOptions = {}): LossWithGradients {
  checkKnown('multiVectorMarginMSE', options, ['similarity', 'topK']);
  return new TokenLoss({
    name: 'margin_mse',
    interaction: interactionFrom(options),
    settings: (given, { rows }) => {
      checkKnown('the loss of multiVectorMarginMSE', given, ['labels']);
      requireDocuments(rows);
      return {};
    },
    teacher: {
      labels: (given, { queries, documents }) => {
        const labels = labelMatrix('multiVectorMarginMSE', LABEL, given, queries);
        const [, numbers = 1, ...more] = labels.shape;
        if (more.length === 0 && (numbers === documents - 1 || numbers === documents)) return labels;
        throw new GradCacheError(
          'SHAPE',
          `The labels of multiVectorMarginMSE are [${labels.shape.join()}]; [${queries}, ${documents - 1}] margins or ` +
            `[${queries}, ${documents}] scores are needed.`,
        );
      },
      numbers: (labels, { queries, documents }) => {
        const given = labels.reshape([queries, -1]);
        if (given.shape[1] !== documents) return given;
        return given.narrow(1, 0, 1).sub(given.narrow(1, 1, documents - 1));
      },
    },
  });
}

/** {@link multiVectorMarginMSE} in `train`. */
export const multiVectorMarginKind: LossKind<InteractionSettings> = {
  about: "margins of documents over negatives like a teacher's, token by token",
  columns: { least: 3, needed: 'three or more different columns: query, document, negatives' },
  label: { type: 'numbers', needed: LABEL, needs: marginsOrScores },
  comparesRows: false,
  perToken: true,
  settings: INTERACTION_SETTINGS,
  check: checkInteraction,
  make: (settings) => multiVectorMarginMSE(interactionOptions(settings)),
  similarity: evaluatedBy,
};
