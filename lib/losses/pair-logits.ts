import { GradCacheError } from '../errors.js';
import { refused, requireOneOf } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { Tensor } from '../tensor/tensor.js';
import { labelsOf } from './labels.js';
import type { LossOptions } from './loss.js';

/** A loss of the logits of pairs, the representations of a {@link CrossEncoder}: [pairs, labels]. */
export type PairLoss = (logits: Tensor, options: LossOptions) => Tensor;

/** What a loss applies to logits first. */
export type LogitActivation = 'identity' | 'sigmoid' | 'tanh';

export const ACTIVATIONS: readonly LogitActivation[] = ['identity', 'sigmoid', 'tanh'];

/** @throws GradCacheError `INPUT` for an unknown name */
export function activationNamed(name: LogitActivation): (logits: Tensor) => Tensor {
  requireOneOf('activation', name, ACTIVATIONS);
  return (logits) => (name === 'sigmoid' ? logits.sigmoid() : name === 'tanh' ? logits.tanh() : logits);
}

/** @throws GradCacheError `SHAPE` unless each pair has one logit */
export function requireOneLogit(logits: Tensor): void {
  if (logits.shape.length === 2 && logits.shape[1] === 1) return;
  throw new GradCacheError(
    'SHAPE',
    `The logits are [${logits.shape.join()}]; [pairs, 1] is needed: this loss is for a model with one label.`,
  );
}

/** The keyword argument `labels`, a number for each pair. @throws GradCacheError `INPUT`, `SHAPE` */
export function neededLabels(given: unknown, pairs: number): number[] {
  const labels = labelsOf(given, pairs);
  if (labels !== null) return labels;
  throw refused('labels', given, 'a number for each pair: step(inputs, { loss: { labels } })');
}

/** Numbers in the type of the logits, on their device, without a graph. */
export function like(logits: Tensor, values: readonly number[]): Tensor {
  const { dtype, device } = logits;
  return noGrad(() => Tensor.from(Float64Array.from(values)).to({ dtype, device }));
}
