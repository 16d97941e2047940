import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireOneOf } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import {
  requireCheckable,
  requireTowers,
  withGradients,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';
import { joinListOptions } from './shared-options.js';

/** What a loss applies to logits first. */
export type LogitActivation = 'identity' | 'sigmoid' | 'tanh';

export const ACTIVATIONS = ['identity', 'sigmoid', 'tanh'] as const;

/** What defines a loss of the logits of pairs, the representations of a cross-encoder. */
export interface PairLossParts<Read> {
  /** The function that makes it, for messages. */
  readonly name: string;
  /** The keyword arguments that it takes. */
  readonly takes: readonly string[];
  /** Reads them. @param labels of the model, where they are known @throws GradCacheError `INPUT`, `SHAPE` */
  readonly read: (options: LossOptions, pairs: number, labels?: number) => Read;
  /** Refuses a model with another number of labels. Default: {@link requireOneLabel}. @throws GradCacheError `SHAPE` */
  readonly checkLabels?: (labels: number) => void;
  /** The loss, a scalar in the graph of the logits, [pairs, labels]. */
  readonly loss: (logits: Tensor, read: Read) => Tensor;
}

/** A loss of the logits of pairs. Autograd computes its gradient. */
export function pairLoss<Read>(parts: PairLossParts<Read>): LossWithGradients {
  return new PairLoss(parts);
}

class PairLoss<Read> implements LossWithGradients {
  readonly #parts: PairLossParts<Read>;

  constructor(parts: PairLossParts<Read>) {
    this.#parts = parts;
  }

  parameters(): Parameter[] {
    return [];
  }

  checkLengths([labels]: readonly (number | undefined)[]): void {
    if (labels !== undefined) (this.#parts.checkLabels ?? requireOneLabel)(labels);
  }

  checkOptions(
    options: LossOptions,
    rows: readonly number[],
    lengths: readonly (number | undefined)[] = [],
  ): void {
    requireCheckable(options, rows);
    this.#read(options, rows, lengths[0]);
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return joinListOptions(parts, rows, (options, own) => this.#read(options, own));
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
  ): Promise<LossGradients> {
    requireTowers(representations);
    const read = this.#read(
      options,
      representations.map(({ shape }) => shape[0] ?? 0),
    );
    const loss = withGradients<[unknown]>((logits) => this.#parts.loss(logits, read));
    return loss.compute(representations, weight, {}, trained);
  }

  #read(options: LossOptions, rows: readonly number[], labels?: number): Read {
    const { name, takes, read } = this.#parts;
    checkKnown(`the loss of ${name}`, options, takes);
    requireOneTower(name, rows);
    return read(options, rows[0]!, labels);
  }
}

/** @throws GradCacheError `SHAPE` unless there is one tower, that of the pairs */
export function requireOneTower(loss: string, rows: readonly number[]): void {
  if (rows.length === 1) return;
  throw new GradCacheError(
    'SHAPE',
    `The loss ${loss} is given ${rows.length} towers; one is needed, a cross-encoder of pairs.`,
  );
}

/** @throws GradCacheError `INPUT` for an unknown name */
export function activationNamed(name: LogitActivation = 'identity'): (logits: Tensor) => Tensor {
  requireOneOf('activation', name, ACTIVATIONS);
  return (logits) => (name === 'sigmoid' ? logits.sigmoid() : name === 'tanh' ? logits.tanh() : logits);
}

/** The setting `activation` of these losses. */
export const activationSetting = <const Name extends LogitActivation>(standard: Name) =>
  ({
    kind: 'choice',
    accepted: ACTIVATIONS,
    default: standard,
    help: 'applied to logits first',
  }) as const;

/** @throws GradCacheError `SHAPE` unless the model has one label */
export function requireOneLabel(labels: number): void {
  if (labels === 1) return;
  throw new GradCacheError('SHAPE', `The model has ${labels} labels: this loss is for one with one label.`);
}

/** @throws GradCacheError `SHAPE` unless each pair has one logit */
export function requireOneLogit(logits: Tensor): void {
  if (logits.shape.length === 2 && logits.shape[1] === 1) return;
  throw new GradCacheError(
    'SHAPE',
    `The logits are [${logits.shape.join()}]; [pairs, 1] is needed: this loss is for a model with one label.`,
  );
}

/** Numbers in the type of the logits, on their device, without a graph. */
export function like(logits: Tensor, values: readonly number[]): Tensor {
  const { dtype, device } = logits;
  return noGrad(() => Tensor.from(Float64Array.from(values)).to({ dtype, device }));
}
