import { guardedAsync, native } from '../addon/native.js';
import { drawSeed } from '../options/seeds.js';
import type { TensorList } from '../tensor/tensor-list.js';

/** Rounds updated weights into bfloat16 by chance. Every part of every update draws with a seed of its own. */
export class Rounding {
  readonly #seed: number;
  /** How many updates were begun. A checkpoint has it, so that a resumed run draws the same. */
  updates = 0;
  #parts = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Before the parts of an update. */
  begin(): void {
    this.updates++;
    this.#parts = 0;
  }

  /** Writes float32 numbers into bfloat16 ones: to one of the two neighbours, the nearer the likelier. */
  async round(narrow: TensorList, wide: TensorList): Promise<void> {
    const seed = drawSeed('rounding', drawSeed('rounding', this.#seed, this.updates), this.#parts++);
    await guardedAsync(() => native().roundStochastically(narrow.handle, wide.handle, seed));
  }
}
