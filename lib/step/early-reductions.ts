import { buffersOf } from '../distributed/divided-gradients.js';
import type { Ranks } from '../distributed/ranks.js';
import type { Tensor } from '../tensor/tensor.js';
import type { CheckedEncoder } from './checked-encoder.js';
import type { SharedGradients } from '../distributed/shared-gradients.js';

/**
 * Begins to add up the gradients of each native model as soon as its own backward pass is done. Every rank begins all, in one
 * order, whatever happens: others wait for it. A model whose towers come last is done first.
 */
export class EarlyReductions {
  readonly #ranks: Ranks;
  readonly #gradients: SharedGradients;
  readonly #ofTower: readonly (readonly Tensor[])[];
  /** In the order of beginning. */
  readonly #waiting: Tensor[];
  /** Chunks of each model that are not done. */
  readonly #left: Map<Tensor, number>;
  readonly #begun: Promise<void>[] = [];

  /** @param towers the tower of each chunk */
  constructor(
    ranks: Ranks,
    gradients: SharedGradients,
    encoders: readonly CheckedEncoder[],
    towers: readonly number[],
  ) {
    this.#ranks = ranks;
    this.#gradients = gradients;
    const known = new Map<CheckedEncoder, Tensor[]>();
    this.#ofTower = encoders.map((encoder) => {
      const buffers = known.get(encoder) ?? buffersOf(encoder.parameters());
      known.set(encoder, buffers);
      return buffers;
    });
    const first = (buffer: Tensor): number => this.#ofTower.findIndex((buffers) => buffers.includes(buffer));
    this.#waiting = [...gradients.buffers].sort((a, b) => first(b) - first(a));
    this.#left = new Map(this.#waiting.map((buffer) => [buffer, 0]));
    for (const tower of towers) this.#count(tower, 1);
  }

  /** A chunk of a tower is done. */
  done(tower: number): void {
    this.#count(tower, -1);
    while (this.#waiting.length > 0 && this.#left.get(this.#waiting[0]!) === 0) this.#begin();
  }

  /** Begins the rest. */
  async all(): Promise<void> {
    while (this.#waiting.length > 0) this.#begin();
    await Promise.allSettled(this.#begun); // where one fails, the others are still on their way
    await Promise.all(this.#begun);
  }

  #begin(): void {
    const buffer = this.#waiting.shift()!;
    const begin = (): Promise<void> => this.#gradients.begin(this.#ranks, buffer);
    // A model may need several exchanges: those of two models have one order on all ranks, however close they begin.
    const begun = this.#begun.at(-1)?.then(begin, begin) ?? begin();
    begun.catch(() => undefined); // looked at in all()
    this.#begun.push(begun);
  }

  #count(tower: number, by: number): void {
    for (const buffer of this.#ofTower[tower]!)
      if (this.#left.has(buffer)) this.#left.set(buffer, this.#left.get(buffer)! + by);
  }
}
