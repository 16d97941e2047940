import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import type { LossWithGradients } from './loss.js';
import { interactionFrom, taughtOf, TokenLoss, type InteractionOptions } from './token-loss.js';

/** Settings of {@link multiVectorDistillKLDiv}. */
export interface MultiVectorDistillOptions extends InteractionOptions {
  /** Scores are divided by it before the softmax; above 0. Default 1. */
  readonly temperature?: number;
  /** Default: the temperature. */
  readonly studentTemperature?: number;
  /** Default: the temperature. */
  readonly teacherTemperature?: number;
}

/**
 * Distillation of late interaction (ColBERTv2, Santhanam et al. 2022; sentence-transformers'
 * MultiVectorDistillKLDivLoss): the softmax of a query's scores with its own documents is to be that of a teacher's scores.
 * The Kullback-Leibler divergence from the teacher's to the model's, times the square of the student's temperature, mean
 * over the queries.
 *
 * Towers: queries, then two or more documents of each query, with a representation for each token.
 * `step(inputs, { loss: { labels } })` gives the teacher's scores: for each query a list with a number for each of its
 * documents.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function multiVectorDistillKLDiv(options: MultiVectorDistillOptions = {}): LossWithGradients {
  checkKnown('multiVectorDistillKLDiv', options, [
    'similarity',
    'topK',
    'temperature',
    'studentTemperature',
    'teacherTemperature',
  ]);
  const { temperature: both = 1 } = options;
  const { studentTemperature: temperature = both, teacherTemperature = both } = options;
  for (const [name, value] of Object.entries({
    temperature: both,
    studentTemperature: temperature,
    teacherTemperature,
  }))
    requireNumber(name, value, { above: 0 });
  return new TokenLoss({
    name: 'distill_kl',
    interaction: interactionFrom(options),
    settings: () => ({ temperature, teacherTemperature }),
    teacher: (given, { queries, documents }) => {
      checkKnown('the loss of multiVectorDistillKLDiv', given, ['labels']);
      requireDocuments(documents);
      return taughtOf(given, queries, new Map([[documents, 'a score for each document']]));
    },
  });
}

/** @throws GradCacheError `SHAPE` for one document a query, among which there is nothing to choose */
export function requireDocuments(documents: number): void {
  if (documents >= 2) return;
  throw new GradCacheError(
    'SHAPE',
    `the loss needs two documents or more for each query, a tower each; there is ${documents}`,
  );
}
