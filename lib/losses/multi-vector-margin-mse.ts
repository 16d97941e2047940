import { checkKnown } from '../options/known-options.js';
import type { LossWithGradients } from './loss.js';
import { requireDocuments } from './multi-vector-distill-kl-div.js';
import { interactionFrom, taughtOf, TokenLoss, type InteractionOptions } from './token-loss.js';

/**
 * Margin MSE (Hofstätter et al. 2020) of late interaction, as sentence-transformers' MultiVectorMarginMSELoss: by how much
 * a query's document scores above each of its negatives is to be what a teacher says. Mean of the squared differences.
 *
 * Towers: queries, documents, then one or more negatives of each query, with a representation for each token.
 * `step(inputs, { loss: { labels } })` gives for each query the margins, a number for each negative, or the teacher's
 * scores of its document and each negative.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function multiVectorMarginMSE(options: InteractionOptions = {}): LossWithGradients {
  checkKnown('multiVectorMarginMSE', options, ['similarity', 'topK']);
  return new TokenLoss({
    name: 'margin_mse',
    interaction: interactionFrom(options),
    settings: () => ({}),
    teacher: (given, { queries, documents }) => {
      checkKnown('the loss of multiVectorMarginMSE', given, ['labels']);
      requireDocuments(documents);
      const negatives = documents - 1;
      const accepted = new Map([
        [negatives, 'a margin for each negative'],
        [documents, 'a score for the document and each negative'],
      ]);
      return taughtOf(given, queries, accepted).map((numbers) => marginsOf(numbers, documents));
    },
  });
}

/** The margins that a teacher's scores have, where it gives these. */
function marginsOf(numbers: readonly number[], documents: number): readonly number[] {
  if (numbers.length < documents) return numbers;
  const [score, ...others] = numbers as [number, ...number[]];
  return others.map((other) => score - other);
}
