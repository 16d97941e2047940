import { call } from '../tensor/operators.js';
import { noGrad, withSeed } from '../tensor/autograd.js';
import { untracked } from '../tensor/scope.js';
import type { DType, Parameter, Tensor } from '../tensor/tensor.js';

/** Predicts, from a recurrent state, the gradient of all future loss with respect to it. */
export interface Synthesiser {
  /** Elements of a row of the state, all slots together. */
  readonly width: number;
  /** 2: it also predicts what it will predict a segment later, which the auxiliary task needs. */
  readonly predictions: 1 | 2;
  /** The parameters that training changes. */
  parameters(): Parameter[];
  /** What the first call reads of the calls before it, each with its rows one behind the other; empty if it remembers none. */
  initialMemory(rows: number): Tensor[];
  /**
   * Synchronous, and in a graph.
   *
   * @param state the slots side by side [rows, width]
   * @returns predictions [rows, predictions * width], for each row those of its own gradient first; and what the next call reads
   */
  predict(
    state: Tensor,
    memory: readonly Tensor[],
  ): {
    /** Of each row, those of its own gradient first. */
    readonly predictions: Tensor;
    /** What the next call reads. */
    readonly memory: readonly Tensor[];
  };
}

/** What every synthesiser of the package is made for. */
export interface SynthesiserShape {
  readonly width: number;
  readonly predictions: 1 | 2;
  readonly dtype: DType;
  readonly device: string;
  /** The seed of the random weights. */
  readonly seed: number;
}

/** A trained tensor with elements uniform from -bound to bound; 0 gives zeros. */
export function uniformParameter(
  name: string,
  shape: readonly number[],
  bound: number,
  { dtype, device, seed }: SynthesiserShape,
): Parameter {
  const tensor = untracked(() =>
    noGrad(() => {
      const made = call('aten::zeros', shape, { dtype, device });
      if (bound > 0) withSeed(seed, () => call('aten::uniform_', made, -bound, bound).dispose());
      return made;
    }),
  );
  tensor.requiresGrad = true;
  return { name, tensor, decay: shape.length > 1 };
}
