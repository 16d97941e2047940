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
import {
  TEACHER_TEMPERATURE_SETTINGS,
  TEACHER_TEMPERATURES,
  teacherTemperatures,
  type TeacherTemperatures,
} from './teacher-temperatures.js';
import { tensorLoss } from './tensor-loss.js';
import { oneForEach } from './row-labels.js';

/** Settings of {@link distillKLDiv}. */
export interface DistillKLDivOptions extends Partial<TeacherTemperatures> {
  /** Default: dot. */
  readonly similarity?: Similarity;
}

const COLUMNS = {
  least: 3,
  needed: 'three or more different columns: query and two or more candidates',
};
const LABEL = "the teacher's score for each candidate";

/**
 * Distillation of a teacher's ranking (Lin et al. 2020): the Kullback-Leibler divergence of the model's softmax over a
 * query's candidates from the teacher's, `T^2 * mean(KL(softmax(label / T_teacher), softmax(score / T)))`, where T is the
 * model's temperature: DistillKLDivLoss of sentence-transformers.
 *
 * Towers: queries and C candidates, [N, d] each. `step(inputs, { loss: { labels } })` gives the teacher's scores [N, C].
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model, model], loss: distillKLDiv({ temperature: 2 }) });
 * await gradcache.step([queries, positives, negatives].map((texts) => model.tokenize(texts)), {
 *   loss: { labels: [[9.1, 2.3]] }, // the teacher's scores of the candidates of each query
 * });
 * ```
 */
export function distillKLDiv(options: DistillKLDivOptions = {}): LossWithGradients {
  checkKnown('distillKLDiv', options, ['similarity', ...TEACHER_TEMPERATURES]);
  const { similarity = 'dot' } = options;
  requireOneOf('similarity', similarity, SIMILARITIES);
  const { student, teacher } = teacherTemperatures(options);
  return tensorLoss({
    name: 'distillKLDiv',
    sparse: 'columns',
    towers: COLUMNS,
    sharing: 'rows',
    labels: (given, rows, towers) => {
      const labels = labelMatrix('distillKLDiv', LABEL, given, rows);
      if (labels.shape.join() === [rows, towers - 1].join()) return labels;
      throw new GradCacheError(
        'SHAPE',
        `The labels of distillKLDiv are [${labels.shape.join()}]; [${rows}, ${towers - 1}] are needed, ${LABEL}.`,
      );
    },
    loss: ([query, ...candidates], labels) => {
      const scores: Tensor = call(
        'aten::stack',
        candidates.map((candidate) => pairScores(similarity, query!, candidate)),
        1,
      );
      const predicted = scores.div(student).logSoftmax(1);
      const wanted = labels.like(scores).div(teacher).logSoftmax(1);
      const divergence = wanted.exp().mul(wanted.sub(predicted)).sum();
      return divergence.mul(student ** 2 / query!.shape[0]!);
    },
  });
}

/** {@link distillKLDiv} in a configuration. */
export interface DistillKLDivSettings extends TeacherTemperatures {
  /** Default 'dot'. The saved model records it. */
  readonly similarity: Similarity;
}

/** {@link distillKLDiv} in `train`. */
export const distillKLDivKind: LossKind<DistillKLDivSettings> = {
  about: "the ranking of candidates like a teacher's",
  columns: COLUMNS,
  label: { type: 'numbers', needed: LABEL, needs: oneForEach },
  comparesRows: false,
  settings: { similarity: DOT_OR_ANOTHER, ...TEACHER_TEMPERATURE_SETTINGS },
  make: (settings) => distillKLDiv(settings),
};
