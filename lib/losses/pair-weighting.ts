import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireFunction } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';
import { labelsOf } from './labels.js';
import type { LossFunction, LossOptions } from './loss.js';

/**
 * The weights of some pairs: how strongly each is drawn together or pushed apart.
 *
 * @param similarities cosines of anchors with all candidates, [N, M]
 * @param among [N, M] of the same type: 1 where a pair is one of them, 0 elsewhere
 * @returns [N, M], or anything that broadcasts to it
 */
export type PairWeights = (similarities: Tensor, among: Tensor) => Tensor;

/** Settings of {@link pairWeighting}. */
export interface PairWeightingOptions {
  /** The weights of pairs with the same label. Default: 1. */
  readonly positive?: PairWeights;
  /** The weights of pairs with different labels. Default: 1 for a cosine above 0.5, otherwise 0. */
  readonly negative?: PairWeights;
}

/** With a memory there are many easy negatives: only those that are too near are pushed away. */
const MARGIN = 0.5;

/**
 * A loss of labelled examples that states directly how much each pair counts (Zhang et al. 2021, arXiv 2103.14003): the
 * gradient with respect to the cosine of a pair is minus its weight for a pair of the same label, plus its weight for one of
 * different labels, divided by the number of anchors. Weights are constants of the gradient. The value is the sum of
 * weight * (1 - cosine) and weight * cosine, divided likewise; the default is the contrastive loss with a margin of 0.5.
 *
 * Towers: anchors [N, d], which are candidates too, and any number of further candidates [M_k, d], such as the rows of a
 * {@link crossBatchMemory}. No anchor is compared with itself. `step(inputs, { loss: { labels } })` gives the class of every
 * candidate, through all towers; a memory adds those of its rows. All cosines exist at once: [N, N + M].
 *
 * @throws GradCacheError `INPUT` for weights that are no functions; at the step: `INPUT`, `SHAPE` for wrong labels
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: pairWeighting() });
 * await gradcache.step([model.tokenize(texts)], { loss: { labels: [0, 1, 0, 1] } }); // the class of each text
 * ```
 */
export function pairWeighting(options: PairWeightingOptions = {}): LossFunction {
  checkKnown('pairWeighting', options, ['positive', 'negative']);
  const { positive = (cosines) => call('aten::ones_like', cosines), negative = near } = options;
  requireFunction('positive', positive);
  requireFunction('negative', negative);
  return (...given: (Tensor & LossOptions)[]): Tensor => {
    const towers = given.slice(0, -1).map((tower) => tower.normalize());
    const anchors = towers[0]!;
    const all = towers.length === 1 ? anchors : call<Tensor>('aten::cat', towers, 0);
    const { labels, ...unknown } = given.at(-1) as LossOptions;
    checkKnown('the loss of pairWeighting', unknown, []);
    const cosines = anchors.matmul(all.t());
    const { same, different } = noGrad(() => pairsOf(labels, cosines));
    const weight = (weights: PairWeights, among: Tensor): Tensor =>
      noGrad(() => weights(cosines.detach(), among).mul(among));
    const drawn = weight(positive, same).mul(cosines.neg().add(1)).sum();
    const pushed = weight(negative, different).mul(cosines).sum();
    return drawn.add(pushed).div(anchors.shape[0]!);
  };
}

const near: PairWeights = (cosines) =>
  call<Tensor>('aten::gt.Scalar', cosines, MARGIN).to({ dtype: cosines.dtype });

/** Which pairs have the same label, and which different ones, as 1 and 0. @throws GradCacheError `INPUT`, `SHAPE` */
function pairsOf(given: unknown, cosines: Tensor): { same: Tensor; different: Tensor } {
  const [anchors, candidates] = cosines.shape as [number, number];
  if (given === undefined)
    throw new GradCacheError(
      'INPUT',
      'pairWeighting needs the class of every candidate: step(inputs, { loss: { labels } })',
    );
  const list = labelsOf(given, candidates)!;
  const like = { dtype: cosines.dtype, device: cosines.device } as const;
  const labels = Tensor.from(Float64Array.from(list)).to({ device: cosines.device });
  const equal = call<Tensor>('aten::eq.Tensor', labels.narrow(0, 0, anchors).reshape([-1, 1]), labels).to(
    like,
  );
  const self: Tensor = call('aten::eye.m', anchors, candidates, like);
  return { same: equal.sub(self), different: equal.neg().add(1) };
}
