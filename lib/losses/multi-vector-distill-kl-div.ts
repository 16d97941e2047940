import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { labelMatrix } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import {
  TEACHER_TEMPERATURE_SETTINGS,
  TEACHER_TEMPERATURES,
  teacherTemperatures,
  type TeacherTemperatures,
} from './teacher-temperatures.js';
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
import { oneForEach } from './row-labels.js';

const LABEL = "the teacher's score for each document";

/** Settings of {@link multiVectorDistillKLDiv}. */
export interface MultiVectorDistillOptions extends InteractionOptions, Partial<TeacherTemperatures> {}

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
 * @example
 * ```ts
 * const model = await TextEncoder.load('my-model', { pooling: 'none' });
 * const gradcache = new GradCache({ encoders: [model, model, model], loss: multiVectorDistillKLDiv() });
 * await gradcache.step([queries, positives, negatives].map((texts) => model.tokenize(texts)), {
 *   loss: { labels: [[9.1, 2.3]] }, // the teacher's scores of the documents of each query
 * });
 * ```
 */
export function multiVectorDistillKLDiv(options: MultiVectorDistillOptions = {}): LossWithGradients {
  checkKnown('multiVectorDistillKLDiv', options, ['similarity', 'topK', ...TEACHER_TEMPERATURES]);
  const { student: temperature, teacher: teacherTemperature } = teacherTemperatures(options);
  return new TokenLoss({
    name: 'distill_kl',
    interaction: interactionFrom(options),
    settings: (given, { rows }) => {
      checkKnown('the loss of multiVectorDistillKLDiv', given, ['labels']);
      requireDocuments(rows);
      return { temperature, teacherTemperature };
    },
    teacher: {
      labels: (given, { queries, documents }) => {
        const labels = labelMatrix('multiVectorDistillKLDiv', LABEL, given, queries);
        if (labels.shape.join() === [queries, documents].join()) return labels;
        throw new GradCacheError(
          'SHAPE',
          `The labels of multiVectorDistillKLDiv are [${labels.shape.join()}]; [${queries}, ${documents}] are needed, ${LABEL}.`,
        );
      },
    },
  });
}

/** @throws GradCacheError `SHAPE` unless each query has two documents or more: one leaves nothing to choose */
export function requireDocuments([queries, ...documents]: readonly number[]): void {
  if (documents.length >= 2 && documents.every((count) => count === queries)) return;
  throw new GradCacheError(
    'SHAPE',
    documents.length >= 2
      ? `the loss is given ${queries} queries and ${documents.join(', ')} documents; as many in each tower are needed`
      : `the loss needs two documents or more for each query, a tower each; there is ${documents.length}`,
  );
}

/** {@link multiVectorDistillKLDiv} in a configuration. */
export interface MultiVectorDistillSettings extends InteractionSettings, TeacherTemperatures {}

/** The same in `train`. */
export const multiVectorDistillKind: LossKind<MultiVectorDistillSettings> = {
  about: "the ranking of a query's documents like a teacher's, token by token",
  columns: { least: 3, needed: 'three or more different columns: query and two or more documents' },
  label: { type: 'numbers', needed: LABEL, needs: oneForEach },
  comparesRows: false,
  perToken: true,
  settings: { ...INTERACTION_SETTINGS, ...TEACHER_TEMPERATURE_SETTINGS },
  check: checkInteraction,
  make: ({ similarity, topK, ...settings }) =>
    multiVectorDistillKLDiv({ ...settings, ...interactionOptions({ similarity, topK }) }),
  similarity: evaluatedBy,
};
