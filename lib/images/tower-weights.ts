import { GradCacheError } from '../errors.js';
import { weightFaults } from '../safetensors/match-weights.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored, toStored } from '../safetensors/stored-tensor.js';
import { noGrad, withSeed } from '../tensor/autograd.js';
import { inType } from '../tensor/in-type.js';
import { call } from '../tensor/operators.js';
import { tidy } from '../tensor/scope.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import type { Weights } from './transformer.js';
import type { Tower } from './vision-tower.js';

/** Types that towers compute in. */
export const TOWER_PRECISIONS = ['float32', 'float64', 'bfloat16'] as const;

export type TowerPrecision = (typeof TOWER_PRECISIONS)[number];

/** Where a tower computes, and in what. */
export interface TowerOptions {
  /** Default: `'cpu'`. */
  readonly device?: string | undefined;
  /**
   * Of weights and computation; with `'bfloat16'` the tower computes in bfloat16, and weights, gradients and representations are
   * float32. Default: `'float32'`.
   */
  readonly precision?: 'float32' | 'float64' | 'bfloat16' | undefined;
  /** In place of the probabilities of dropout that the folder states. */
  readonly dropout?: number | undefined;
}

/** The weights of a tower as parameters, under the names of the folder. */
export class TowerWeights {
  readonly parameters: Parameter[];
  readonly #tower: Tower;
  readonly #of: Weights;

  /**
   * @param prefix what the folder puts in front of the tower's names
   * @throws GradCacheError `CHECKPOINT` for weights that are missing or of another shape
   */
  constructor(
    tower: Tower,
    prefix: string,
    stored: ReadonlyMap<string, StoredTensor>,
    { device = 'cpu', precision = 'float32' }: TowerOptions,
  ) {
    this.#tower = tower;
    const kept = precision === 'float64' ? precision : 'float32';
    const nameOf = (name: string) => (tower.outside.has(name) ? name : prefix + name);
    const shapes = new Map(Array.from(tower.shapes, ([name, shape]) => [nameOf(name), shape]));
    const faults = weightFaults(shapes, stored, () => true);
    if (faults !== undefined)
      throw new GradCacheError(
        'CHECKPOINT',
        `The weights are not those of the tower in config.json; ${faults}`,
      );
    const tensors = new Map<string, Tensor>();
    this.parameters = Array.from(tower.shapes, ([name, shape]): Parameter => {
      const source = fromStored(stored.get(nameOf(name))!);
      const tensor = source.to({ dtype: kept, device }).clone();
      source.dispose();
      tensor.requiresGrad = true;
      tensors.set(name, tensor);
      return { name: nameOf(name), tensor, decay: shape.length > 1 };
    });
    const find = (name: string): Tensor => tensors.get(name)!;
    this.#of = Object.assign((name: string) => inType(find(name), precision), { kept: find });
  }

  /** Representations of what the tower takes, in the type that the weights are kept in. */
  encode(input: Tensor, training: boolean): Tensor {
    const made = this.#tower.forward(input, this.#of, training);
    return made.dtype === 'bfloat16' ? made.to({ dtype: 'float32' }) : made;
  }

  /** The tensors of a folder with the weights as they are now, in float32. */
  async storedInto(tensors: Map<string, StoredTensor>): Promise<void> {
    for (const { name, tensor } of this.parameters) {
      const wide = noGrad(() => tensor.detach().to({ dtype: 'float32', device: 'cpu' }));
      tensors.set(name, await toStored(wide));
      wide.dispose();
    }
  }

  dispose(): void {
    for (const { tensor } of this.parameters) tensor.dispose();
  }
}

/** Normal with a deviation where a weight is a matrix or a token, 1 for the scale of a norm, else 0. */
export function randomWeights(
  shapes: ReadonlyMap<string, readonly number[]>,
  deviation: number,
  seed: number,
): Map<string, StoredTensor> {
  return withSeed(seed, () =>
    tidy(() => {
      const stored = new Map<string, StoredTensor>();
      for (const [name, shape] of shapes) {
        const random = shape.length > 1 || !/(weight|bias)$/.test(name);
        const made = random ? 'aten::randn' : name.endsWith('weight') ? 'aten::ones' : 'aten::zeros';
        const tensor = call(made, shape, { dtype: 'float32' });
        const values = (random ? tensor.mul(deviation) : tensor).valuesSync() as Float32Array;
        stored.set(name, {
          dtype: 'float32',
          shape,
          bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
        });
      }
      return stored;
    }),
  );
}
