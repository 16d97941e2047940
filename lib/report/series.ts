/** A series keeps between this many points and twice as many. */
const POINTS = 500;

/** Points of a series in order. */
export interface Points {
  readonly steps: readonly number[];
  readonly values: readonly number[];
}

/**
 * A quantity by step, in bounded memory. Of a long run each point is the mean of several steps, at the last of them.
 */
export class Series {
  #steps: number[] = [];
  #values: number[] = [];
  /** Steps that make a point. */
  #each = 1;
  /** The point that is being made. */
  #sum = 0;
  #count = 0;
  #step = 0;
  #last: number | undefined;

  /** How many steps a point stands for. */
  get each(): number {
    return this.#each;
  }

  /** The value of the last step; undefined where there is none. */
  get last(): number | undefined {
    return this.#last;
  }

  add(step: number, value: number): void {
    this.#sum += value;
    this.#count++;
    this.#step = step;
    this.#last = value;
    if (this.#count < this.#each) return;
    this.#steps.push(step);
    this.#values.push(this.#sum / this.#count);
    [this.#sum, this.#count] = [0, 0];
    if (this.#steps.length === 2 * POINTS) this.#halve();
  }

  /** The points, the one that is being made included. */
  get points(): Points {
    if (this.#count === 0) return { steps: [...this.#steps], values: [...this.#values] };
    return {
      steps: [...this.#steps, this.#step],
      values: [...this.#values, this.#sum / this.#count],
    };
  }

  /** Puts neighbours together. */
  #halve(): void {
    const [steps, values] = [this.#steps, this.#values];
    this.#steps = steps.filter((_, place) => place % 2 === 1);
    this.#values = this.#steps.map((_, place) => (values[2 * place]! + values[2 * place + 1]!) / 2);
    this.#each *= 2;
  }
}
