import { weightFaults } from '../safetensors/match-weights.js';
import type { Weight } from './weights.js';

/** The weights of a model by the names of its parameters, as native/encoders declares them. */
export class Parameters {
  readonly #weights: ReadonlyMap<string, Weight>;
  readonly #taken = new Map<string, readonly number[]>();

  constructor(weights: ReadonlyMap<string, Weight>) {
    this.#weights = weights;
  }

  /** The weight of a parameter. Whether it is there and has the shape is said by {@link Parameters.faults}. */
  take(name: string, shape: readonly number[]): Weight {
    this.#taken.set(name, shape);
    return { shape, read: () => this.#weights.get(name)!.read() };
  }

  /**
   * What is wrong with the weights, as the end of a sentence; undefined: nothing.
   *
   * @param isUnused says of a name whether a weight may be there that no parameter has taken
   */
  faults(isUnused: (name: string) => boolean): string | undefined {
    return weightFaults(this.#taken, this.#weights, isUnused);
  }
}
