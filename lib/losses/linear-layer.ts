import { noGrad, withSeed } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { untracked } from '../tensor/scope.js';
import type { DType, Parameter, Tensor } from '../tensor/tensor.js';

/** A linear layer that a loss trains. */
export interface LinearLayer {
  /** [rows, outputs] of [rows, inputs], in the type of the weights. */
  apply(rows: Tensor): Tensor;
  readonly parameters: readonly Parameter[];
}

/** Where the weights of a loss are, and how they begin. */
export interface LayerPlace {
  readonly dtype: DType;
  readonly device: string;
  readonly seed: number;
}

/**
 * Makes a linear layer with a bias. Its numbers begin uniform between -1 / sqrt(inputs) and 1 / sqrt(inputs), like those of
 * PyTorch.
 *
 * @param name of its parameters, before `.weight` and `.bias`
 */
export function linearLayer(name: string, inputs: number, outputs: number, place: LayerPlace): LinearLayer {
  const { dtype, device, seed } = place;
  const bound = 1 / Math.sqrt(inputs);
  const make = (shape: readonly number[]): Tensor => {
    const tensor = call<Tensor>('aten::rand', shape, { dtype: 'float64' })
      .mul(2 * bound)
      .sub(bound);
    return tensor.to({ dtype, device });
  };
  const [weight, bias] = untracked(() =>
    noGrad(() => withSeed<[Tensor, Tensor]>(seed, () => [make([outputs, inputs]), make([outputs])])),
  );
  for (const tensor of [weight, bias]) tensor.requiresGrad = true;
  return {
    apply: (rows) => rows.to({ dtype }).linear(weight, bias),
    parameters: [
      { name: `${name}.weight`, tensor: weight, decay: true },
      { name: `${name}.bias`, tensor: bias, decay: false },
    ],
  };
}
