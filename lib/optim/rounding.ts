import { guardedAsync, native } from '../addon/native.js';
import { drawSeed } from '../options/seeds.js';
import { noGrad } from '../tensor/autograd.js';
import { call, callAsync } from '../tensor/operators.js';
import { untracked } from '../tensor/scope.js';
import { TensorList } from '../tensor/tensor-list.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import type { Among } from './divided-tables.js';

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

  /** Passes over a part that other ranks round, so that the parts behind it draw as on every rank. */
  skip(): void {
    this.#parts++;
  }

  /** Writes float32 numbers into bfloat16 ones: to one of the two neighbours, the nearer the likelier. */
  async round(narrow: TensorList, wide: TensorList): Promise<void> {
    const seed = drawSeed('rounding', drawSeed('rounding', this.#seed, this.updates), this.#parts++);
    await guardedAsync(() => native().roundStochastically(narrow.handle, wide.handle, seed));
  }

  /** {@link Rounding.round} of rows. @param among where they are among the rows that are drawn for; default: they are all */
  async roundRows(narrow: Tensor, wide: Tensor, among?: Among): Promise<void> {
    if (among === undefined || among.total === narrow.shape[0]) return this.#roundOne(narrow, wide);
    if (narrow.size === 0) {
      this.skip();
      return;
    }
    const { places, total } = among;
    const made: Tensor[] = [];
    const all = (dtype: DType): Tensor => {
      const shape = [total, narrow.shape[1]!];
      const tensor: Tensor = untracked(() =>
        noGrad(() => call('aten::empty.memory_format', shape, { dtype, device: narrow.device })),
      );
      made.push(tensor);
      return tensor;
    };
    try {
      const [into, from] = [all('bfloat16'), all('float32')];
      made.push(await callAsync<Tensor>('aten::index_copy_', from, 0, places, wide));
      await this.#roundOne(into, from);
      const own = await callAsync<Tensor>('aten::index_select', into, 0, places);
      made.push(own);
      narrow.copyFrom(own);
    } finally {
      for (const tensor of made) tensor.dispose();
    }
  }

  async #roundOne(narrow: Tensor, wide: Tensor): Promise<void> {
    const lists = [narrow, wide].map((tensor) => TensorList.of([tensor]));
    await this.round(lists[0]!, lists[1]!).finally(() => {
      for (const list of lists) list.dispose();
    });
  }
}
