import { GradCacheError } from '../errors.js';
import { noGrad } from '../tensor/autograd.js';
import { untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';

/** A number that a loss uses, fixed or learned. */
export interface LossNumber {
  /** A learned number has the value of the last awaited update. */
  readonly value: number;
  /** The number for the next loss. A learned one is read without blocking the event loop. */
  read(): Promise<number>;
  /** The parameter of a learned number; none for a fixed one. */
  parameters(): Parameter[];
  /** Adds to the gradient of the parameter. */
  addGradient(slope: number): void;
}

/** A number that training does not change. */
export function fixedNumber(value: number): LossNumber {
  return { value, read: async () => value, parameters: () => [], addGradient: () => undefined };
}

/** The parameter of a learned number. */
interface Learned {
  /** Name of the parameter. */
  readonly name: string;
  /** Initial value of the parameter. */
  readonly initial: number;
  /** Least and greatest value: a parameter that an update has brought beyond one is set back to it. */
  readonly least?: number;
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
    this.#how = { least: -Infinity, most: Infinity, ...how };
    this.#tensor = numberTensor(how.initial);
    this.#tensor.requiresGrad = true;
    this.#tensor.grad = numberTensor(0);
  }

  get value(): number {
    return this.#at(this.#tensor.item());
  }

  async read(): Promise<number> {
    const parameter = Number((await this.#tensor.values())[0]); // off the event loop, unlike item()
    const within = this.#limited(parameter);
    if (within !== parameter && !Number.isNaN(parameter)) {
      const limit = numberTensor(within);
      this.#tensor.copyFrom(limit);
      limit.dispose();
    }
    const value = this.#at(parameter);
    if (Number.isFinite(value)) return value;
    throw new GradCacheError(
      'NON_FINITE',
      `the learned ${this.#how.name} is ${parameter}. Lower the learning rate, or do not learn it (learned: false)`,
    );
  }

  parameters(): Parameter[] {
    return [{ name: this.#how.name, tensor: this.#tensor, decay: false }];
  }

  addGradient(slope: number): void {
    if (!this.#tensor.requiresGrad) return; // the caller keeps the number as it is
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
    return this.#how.valueAt(this.#limited(parameter));
  }

  #limited(parameter: number): number {
    return Math.min(Math.max(parameter, this.#how.least), this.#how.most);
  }
}

const numberTensor = (value: number): Tensor => untracked(() => Tensor.from(Float64Array.of(value)));
