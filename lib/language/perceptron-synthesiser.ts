import { refused } from '../options/option-values.js';
import { drawSeed } from '../options/seeds.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { uniformParameter, type Synthesiser, type SynthesiserShape } from './synthesiser.js';

/** Settings of the perceptron that predicts gradients (Jaderberg et al. 2017). */
export interface PerceptronSettings {
  /** What it is. */
  readonly kind: 'perceptron';
  /** Widths of the hidden layers, each followed by ReLU. Default: two, as wide as the state. */
  readonly hidden?: readonly number[];
}

/** A perceptron over the whole state of a row. Its last layer begins as zeros, so that training begins as truncated training. */
export class PerceptronSynthesiser implements Synthesiser {
  readonly width: number;
  readonly predictions: 1 | 2;
  readonly #layers: readonly { readonly weight: Parameter; readonly bias: Parameter }[];

  /** @throws GradCacheError `INPUT` */
  constructor(
    shape: SynthesiserShape,
    { hidden = [shape.width, shape.width] }: Omit<PerceptronSettings, 'kind'>,
  ) {
    if (!Array.isArray(hidden) || !hidden.every((width) => Number.isSafeInteger(width) && width >= 1))
      throw refused('hidden of a perceptron', hidden, 'a list of whole numbers from 1');
    this.width = shape.width;
    this.predictions = shape.predictions;
    const widths: number[] = [shape.width, ...(hidden as readonly number[]), shape.predictions * shape.width];
    this.#layers = widths.slice(1).map((to, layer) => {
      const from = widths[layer]!;
      const bound = layer === widths.length - 2 ? 0 : 1 / Math.sqrt(from);
      const make = (name: string, extents: number[], place: number) =>
        uniformParameter(`layers.${layer}.${name}`, extents, bound, {
          ...shape,
          seed: drawSeed('synthesiser', shape.seed, 2 * layer + place),
        });
      return { weight: make('weight', [to, from], 0), bias: make('bias', [to], 1) };
    });
  }

  parameters(): Parameter[] {
    return this.#layers.flatMap(({ weight, bias }) => [weight, bias]);
  }

  initialMemory(): Tensor[] {
    return [];
  }

  predict(state: Tensor): { predictions: Tensor; memory: Tensor[] } {
    const predictions = this.#layers.reduce((x, { weight, bias }, layer) => {
      const y = x.linear(weight.tensor, bias.tensor);
      return layer < this.#layers.length - 1 ? y.relu() : y;
    }, state);
    return { predictions, memory: [] };
  }
}
