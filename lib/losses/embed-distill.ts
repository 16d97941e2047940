import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireCount, requireOneOf, requireString } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { labelMatrix } from './labels.js';
import { linearLayer } from './linear-layer.js';
import type { LossKind, LossModel } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { length, pairCosines } from './pair-scores.js';
import { requireDimension } from './softmax-classification.js';
import { tensorLoss } from './tensor-loss.js';

/** How a representation is compared with the teacher's. */
export type DistillDistance = 'cosine' | 'mse' | 'l2';

/** Projects representations to the length of the teacher's, by a trained linear layer. */
export interface Projection {
  /** Length of the teacher's representations. */
  readonly to: number;
  /** Length of a representation: `trainedDimension` of a TextEncoder, of one layer. */
  readonly from: number;
  /** Seed of the random weights. Default 0. */
  readonly seed?: number;
  /** Type of the weights. Default 'float32'. */
  readonly dtype?: 'float32' | 'float64';
  /** The device of the representations. Default 'cpu'. */
  readonly device?: string;
}

/** Settings of {@link embedDistill}. */
export interface EmbedDistillOptions {
  /** 1 minus the cosine ('cosine', the default), the mean squared error ('mse') or the length of the difference ('l2'). */
  readonly distance?: DistillDistance;
  /** Needed where the teacher's representations are of another length. Default: none. */
  readonly projection?: Projection | null;
}

const COLUMNS = { least: 1, needed: 'one or more different columns of texts', usual: ['text'] };
const LABEL = "the teacher's representation of each row, a list of numbers";
const DISTANCES = ['cosine', 'mse', 'l2'] as const;

/**
 * Representations like those of a teacher (Kim et al. 2023): the distance from them, the mean over rows and towers:
 * EmbedDistillLoss of sentence-transformers. A projection belongs to the loss: `parameters()` gives it to the optimizer, and
 * {@link saveLoss} stores it beside the model.
 *
 * Towers: one or more, [N, d] each, such as a sentence and its translation. `step(inputs, { loss: { labels } })` gives the
 * teacher's representations: [N, D] for all towers, or [N, towers, D], as lists or as a Tensor.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: embedDistill() });
 * const labels = await teacher.encode(texts); // its representations
 * await gradcache.step([model.tokenize(texts)], { loss: { labels } });
 * ```
 */
export function embedDistill(options: EmbedDistillOptions = {}): LossWithGradients {
  checkKnown('embedDistill', options, ['distance', 'projection']);
  const { distance = 'cosine', projection = null } = options;
  requireOneOf('distance', distance, DISTANCES);
  if (projection !== null) checkProjection(projection);
  return distill('embedDistill', distance, projection);
}

/**
 * {@link embedDistill} by the mean squared error: MSELoss of sentence-transformers.
 *
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: mse() });
 * const labels = await teacher.encode(texts); // of English texts, whose translations are trained on
 * await gradcache.step([model.tokenize(translations)], { loss: { labels } });
 * ```
 */
export function mse(options: Pick<EmbedDistillOptions, 'projection'> = {}): LossWithGradients {
  checkKnown('mse', options, ['projection']);
  const { projection = null } = options;
  if (projection !== null) checkProjection(projection);
  return distill('mse', 'mse', projection);
}

function distill(name: string, distance: DistillDistance, projection: Projection | null): LossWithGradients {
  const { from = 0, to = 0, seed = 0, dtype = 'float32', device = 'cpu' } = projection ?? {};
  const layer =
    projection === null ? null : linearLayer('loss.projection', from, to, { seed, dtype, device });
  return tensorLoss({
    name,
    towers: COLUMNS,
    sharing: 'rows',
    parameters: layer?.parameters ?? [],
    checkLength: (length) => {
      if (layer !== null) requireDimension(length, from);
    },
    labels: (given, rows, towers, length) => {
      const labels = labelMatrix(name, LABEL, given, rows);
      const { shape } = labels;
      const made = layer === null ? length : to;
      if (shape.length === 2 || (shape.length === 3 && shape[1] === towers)) {
        if (made !== undefined) requireSameLength(name, shape.at(-1)!, made);
        return labels;
      }
      throw new GradCacheError(
        'SHAPE',
        `The labels of ${name} are [${shape.join()}]; [${rows}, dimension] or [${rows}, ${towers}, dimension] are needed.`,
      );
    },
    loss: (towers, labels) => {
      if (layer !== null) requireDimension(towers[0]!.shape[1]!, from);
      const made = towers.map((rows) => (layer === null ? rows : layer.apply(rows)));
      const wanted = labels.like(made[0]!);
      const { shape } = wanted;
      requireSameLength(name, shape.at(-1)!, made[0]!.shape[1]!);
      const losses = made.map((rows, tower) =>
        distanceOf(distance, rows, shape.length === 2 ? wanted : call('aten::select.int', wanted, 1, tower)),
      );
      return losses.reduce((sum, loss) => sum.add(loss)).div(towers.length);
    },
  });
}

/** @throws GradCacheError `SHAPE` */
function requireSameLength(loss: string, teacher: number, model: number): void {
  if (teacher === model) return;
  throw new GradCacheError(
    'SHAPE',
    `The teacher's representations have ${teacher} numbers, the model's ${model}: give ${loss} a ` +
      'projection (projection, --loss.projection).',
  );
}

function distanceOf(distance: DistillDistance, rows: Tensor, wanted: Tensor): Tensor {
  if (distance === 'cosine') return pairCosines(rows, wanted).neg().add(1).mean();
  const difference = rows.sub(wanted);
  return distance === 'mse' ? difference.mul(difference).mean() : length(difference, 'euclidean').mean();
}

function checkProjection(projection: Projection): void {
  checkKnown('projection', projection, ['to', 'from', 'seed', 'dtype', 'device']);
  const { to, from, seed = 0, dtype = 'float32', device = 'cpu' } = projection;
  requireCount('projection.to', to, 1);
  requireCount('projection.from', from, 1);
  requireSeed(seed);
  requireOneOf('projection.dtype', dtype, ['float32', 'float64']);
  requireString('projection.device', device);
}

/** {@link mse} in a configuration. */
export interface MSESettings {
  /** Length of the teacher's representations, where it is another: a trained linear layer. Default: none. */
  readonly projection: number | null;
}

/** {@link embedDistill} in a configuration. */
export interface EmbedDistillSettings extends MSESettings {
  /** Default 'cosine'. */
  readonly distance: DistillDistance;
}

const PROJECTION = {
  kind: 'number',
  from: 1,
  whole: true,
  default: null,
  help: "project to the teacher's dimension; default: no projection",
} as const;

const projectionOf = (
  to: number | null,
  { dimension: from, dtype, device, seed }: LossModel,
): Projection | null => (to === null ? null : { to, from, dtype, device, seed });

const COMMON = { columns: COLUMNS, label: { type: 'numbers', needed: LABEL }, comparesRows: false } as const;

/** {@link embedDistill} in `train`. */
export const embedDistillKind: LossKind<EmbedDistillSettings> = {
  ...COMMON,
  about: "representations like a teacher's",
  settings: {
    distance: { kind: 'choice', accepted: DISTANCES, default: 'cosine', help: 'cosine (default), mse or l2' },
    projection: PROJECTION,
  },
  make: ({ distance, projection }, model) =>
    embedDistill({ distance, projection: projectionOf(projection, model) }),
};

/** {@link mse} in `train`. */
export const mseKind: LossKind<MSESettings> = {
  ...COMMON,
  about: "representations like a teacher's, by mean squared error",
  settings: { projection: PROJECTION },
  make: ({ projection }, model) => mse({ projection: projectionOf(projection, model) }),
};
