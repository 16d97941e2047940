import { noGrad } from '../tensor/autograd.js';
import { untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';

/** A number that a loss is computed with, fixed or learned. */
export interface LossNumber {
  /** As given, or as learned up to the last update that was awaited. */
  readonly value: number;
  /** The number for the next loss; a learned one is read off the event loop. */
  read(): Promise<number>;
  /** The parameter behind it; none for a fixed number. */
  parameters(): Parameter[];
  /** Adds to the gradient of the parameter. */
  addGradient(slope: number): void;
}

/** A number that stays what it is. */
export function fixedNumber(value: number): LossNumber {
  return { value, read: async () => value, parameters: () => [], addGradient: () => undefined };
}

/** How the parameter behind a learned number is kept. */
interface Learned {
  /** Of the parameter. */
  readonly name: string;
  /** Of the parameter, at the beginning. */
  readonly initial: number;
  /** The parameter is put back here where an update has brought it further. */
  readonly most?: number;
  /** The number that the parameter stands for. */
  readonly valueAt: (parameter: number) => number;
}

/** A number that is trained: a parameter of one float64 on the CPU. */
export function learnedNumber(how: Learned): LossNumber {
  return new LearnedNumber(how);
}

class LearnedNumber implements LossNumber {
  readonly #how: Required<Learned>;
  readonly #tensor: Tensor;

  constructor(how: Learned) {
    this.#how = { most: Infinity, ...how };
    this.#tensor = numberTensor(how.initial);
    this.#tensor.requiresGrad = true;
    this.#tensor.grad = numberTensor(0);
  }

  get value(): number {
    return this.#at(this.#tensor.item());
  }

  async read(): Promise<number> {
    const parameter = Number((await this.#tensor.values())[0]); // off the event loop, unlike item()
    const { most } = this.#how;
    if (parameter > most) {
      const limit = numberTensor(most);
      this.#tensor.copyFrom(limit);
      limit.dispose();
    }
    return this.#at(parameter);
  }

  parameters(): Parameter[] {
    return [{ name: this.#how.name, tensor: this.#tensor, decay: false }];
  }

  addGradient(slope: number): void {
    const gradient = untracked(() => this.#tensor.grad);
    if (gradient === null) {
      this.#tensor.grad = numberTensor(slope);
      return;
    }
    noGrad(() => {
      const sum = gradient.add(slope);
      gradient.copyFrom(sum);
      sum.dispose();
    });
    gradient.dispose();
  }

  #at(parameter: number): number {
    return this.#how.valueAt(Math.min(parameter, this.#how.most));
  }
}

const numberTensor = (value: number): Tensor => untracked(() => Tensor.from(Float64Array.of(value)));
