import { GradCacheError } from '../errors.js';
import type { Fields } from '../options/fields.js';
import { checkKnown } from '../options/known-options.js';
import { requireBoolean, requireCount, requireOneOf, requireString } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { call } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';
import { PAIR_COLUMNS } from './contrastive.js';
import { classLabels } from './labels.js';
import { linearLayer } from './linear-layer.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { tensorLoss } from './tensor-loss.js';

/** Settings of {@link softmaxClassification}. */
export interface SoftmaxClassificationOptions {
  /** Length of a representation: `trainedDimension` of a TextEncoder, of one layer. */
  readonly dimension: number;
  /** How many classes there are. */
  readonly classes: number;
  /** Give the classifier both representations u and v. Default true. */
  readonly representations?: boolean;
  /** Give it |u - v|. Default true. */
  readonly difference?: boolean;
  /** Give it u * v. Default false. */
  readonly product?: boolean;
  /** Seed of the classifier's random weights. Default 0. */
  readonly seed?: number;
  /** Type of the classifier's weights. Default 'float32'. */
  readonly dtype?: 'float32' | 'float64';
  /** The device of the representations. Default 'cpu'. */
  readonly device?: string;
}

/**
 * Classifies pairs (Reimers and Gurevych 2019): the cross-entropy of a trained linear layer over u, v, |u - v| and, if
 * asked, u * v: SoftmaxLoss of sentence-transformers. The layer belongs to the loss: `parameters()` gives it to the
 * optimizer, and {@link saveLoss} stores it beside the model.
 *
 * Towers: u [N, d] and v [N, d]. `step(inputs, { loss: { labels } })` gives the class of each pair, from 0 to classes - 1.
 *
 * ```ts
 * const loss = softmaxClassification({ dimension: model.trainedDimension, classes: 3 });
 * const gradcache = new GradCache({ encoders: [model, model], loss });
 * const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5 });
 * ```
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 */
export function softmaxClassification(options: SoftmaxClassificationOptions): LossWithGradients {
  const names = [
    'dimension',
    'classes',
    'representations',
    'difference',
    'product',
    'seed',
    'dtype',
    'device',
  ];
  checkKnown('softmaxClassification', options, names);
  const { dimension, classes, representations = true, difference = true, product = false } = options;
  const { seed = 0, dtype = 'float32', device = 'cpu' } = options;
  requireCount('dimension', dimension, 1);
  requireCount('classes', classes, 2);
  requireBoolean('representations', representations);
  requireBoolean('difference', difference);
  requireBoolean('product', product);
  requireSeed(seed);
  requireOneOf('dtype', dtype, ['float32', 'float64']);
  requireString('device', device);
  const parts = 2 * Number(representations) + Number(difference) + Number(product);
  if (parts === 0) throw new GradCacheError('INPUT', NOTHING_TO_SEE);
  const layer = linearLayer('loss.classifier', parts * dimension, classes, { seed, dtype, device });
  return tensorLoss({
    name: 'softmaxClassification',
    towers: PAIR_COLUMNS,
    sharing: 'rows',
    parameters: layer.parameters,
    checkLength: (length) => {
      requireDimension(length, dimension);
    },
    labels: (given, rows) => classLabels('softmaxClassification', given, rows, classes),
    loss: ([u, v], labels) => {
      requireDimension(u!.shape[1]!, dimension);
      const features: Tensor[] = representations ? [u!, v!] : [];
      if (difference) features.push(call('aten::abs', u!.sub(v!)));
      if (product) features.push(u!.mul(v!));
      const scores = layer.apply(call('aten::cat', features, 1)).logSoftmax(1);
      const targets = Tensor.from(Int32Array.from(labels)).to({ dtype: 'int64', device: scores.device });
      return call<Tensor>('aten::gather', scores, 1, targets.reshape([-1, 1]))
        .mean()
        .neg();
    },
  });
}

const NOTHING_TO_SEE =
  'softmaxClassification gives its classifier nothing: representations, difference or product must be true.';

/** @throws GradCacheError `SHAPE` */
export function requireDimension(length: number, dimension: number): void {
  if (length !== dimension)
    throw new GradCacheError(
      'SHAPE',
      `The loss was made for representations of dimension ${dimension}, and these have ${length}.`,
    );
}

/** {@link softmaxClassification} in a configuration. */
export interface SoftmaxClassificationSettings {
  /** How many classes there are; must be given. */
  readonly classes: number | null;
  /** Give the classifier both representations u and v. Default true. */
  readonly representations: boolean;
  /** Give it |u - v|. Default true. */
  readonly difference: boolean;
  /** Give it u * v. Default false. */
  readonly product: boolean;
}

/** {@link softmaxClassification} in `train`. */
export const softmaxKind: LossKind<SoftmaxClassificationSettings> = {
  about: 'the class of a pair, by a trained linear layer',
  columns: PAIR_COLUMNS,
  label: { type: 'class', needed: 'the class of each pair' },
  comparesRows: false,
  settings: {
    classes: { kind: 'number', from: 2, whole: true, default: null, help: 'how many classes there are' },
    representations: { kind: 'switch', default: true, help: 'the layer sees u and v (default)' },
    difference: { kind: 'switch', default: true, help: 'the layer sees |u - v| (default)' },
    product: { kind: 'switch', default: false, help: 'the layer sees u * v' },
  },
  check: ({ classes, representations, difference, product }, fields: Fields) => {
    if (classes === null) fields.missing('classes', 'give the number of classes');
    if (!representations && !difference && !product) throw new GradCacheError('INPUT', NOTHING_TO_SEE);
  },
  make: ({ classes, ...settings }, { dimension, dtype, device, seed }) =>
    softmaxClassification({ ...settings, classes: classes!, dimension, dtype, device, seed }),
};
