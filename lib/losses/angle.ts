import { checkKnown } from '../options/known-options.js';
import { requireNumber } from '../options/option-values.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { rankingLoss } from './cosent.js';
import { labelsOf, requiredLabels } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { tensorLoss } from './tensor-loss.js';

/** Settings of {@link anglE}. */
export interface AnglEOptions {
  /** Differences of similarities are multiplied by it; above 0. Default 20. */
  readonly scale?: number;
}

const COLUMNS = {
  least: 2,
  needed: 'two different columns, the texts of a pair, or more: anchor, positive, hard negatives,',
  usual: ['sentence1', 'sentence2'],
};
const LABEL = 'a score for each pair';

/**
 * AnglE (Li and Li 2024): {@link coSENT} over the angles of pairs, which have a gradient where cosines saturate. Both halves
 * of a representation are the real and the imaginary part of complex numbers. The similarity of unit vectors x and y is
 * `|sum(x * y) + sum(x_2 * y_1 - x_1 * y_2)|`: AnglELoss of sentence-transformers.
 *
 * Towers: two of [N, d] with `step(inputs, { loss: { labels } })`, the score of each pair. Or anchors, positives and hard
 * negatives, [N, d] each: then each anchor makes a pair with each other tower. Pairs with positives have the labels, by
 * default 1, and those with negatives 1 - label.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: anglE() });
 * await gradcache.step([model.tokenize(first), model.tokenize(second)], { loss: { labels: [0.9, 0.1] } }); // a score for each pair
 * ```
 */
export function anglE(options: AnglEOptions = {}): LossWithGradients {
  checkKnown('anglE', options, ['scale']);
  const { scale = 20 } = options;
  requireNumber('scale', scale, { above: 0 });
  return tensorLoss({
    name: 'anglE',
    towers: COLUMNS,
    labels: (given, rows, towers) => {
      if (towers === 2) return requiredLabels('anglE', LABEL, given, rows);
      const labels = labelsOf(given, rows) ?? Array<number>(rows).fill(1);
      const others = labels.map((label) => 1 - label);
      return [labels, ...Array<number[]>(towers - 2).fill(others)].flat();
    },
    loss: ([anchors, ...others], labels) => {
      const scores = others.map((other) => angles(anchors!, other));
      return rankingLoss(scores.length === 1 ? scores[0]! : call('aten::cat', scores, 0), labels, scale);
    },
  });
}

/** [N] of [N, d] and [N, d]. */
function angles(first: Tensor, second: Tensor): Tensor {
  const [x, y] = [first.normalize(), second.normalize()];
  const [x1, x2] = halves(x);
  const [y1, y2] = halves(y);
  const sines = x2.mul(y1).sub(x1.mul(y2)).sum(1);
  return call('aten::abs', x.mul(y).sum(1).add(sines));
}

/** Both halves of rows. An odd dimension gets a zero at the end. */
function halves(rows: Tensor): [Tensor, Tensor] {
  const dimension = rows.shape[1]!;
  const even: Tensor = dimension % 2 === 0 ? rows : call('aten::constant_pad_nd', rows, [0, 1], 0);
  const half = Math.ceil(dimension / 2);
  return [even.narrow(1, 0, half), even.narrow(1, half, half)];
}

/** {@link anglE} in `train`. */
export const anglEKind: LossKind<Required<AnglEOptions>> = {
  about: 'like cosent, over angles',
  columns: COLUMNS,
  label: { type: 'number', needed: LABEL, optional: true },
  comparesRows: false,
  settings: {
    scale: { kind: 'number', above: 0, default: 20, help: 'multiplies similarities; default 20' },
  },
  make: ({ scale }) => anglE({ scale }),
};
