import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { computed, disposeAll } from './carried.js';
import type { Carried } from './segment-model.js';

/**
 * The states at the cuts of a walk, in one block of memory a slot. Small tensors of their own, made between the large ones of
 * the passes, would leave the allocator's memory in pieces.
 */
export class CarriedCache {
  readonly #count: number;
  #slots: Tensor[] | null = null;

  constructor(count: number) {
    this.#count = count;
  }

  /** Puts a state into its place. Takes `carried` over; the result has its memory and views of the cache. */
  put(index: number, { state, memory }: Carried): Carried {
    try {
      this.#slots ??= computed(() =>
        state.map((slot) =>
          call('aten::zeros', [this.#count, ...slot.shape], { dtype: slot.dtype, device: slot.device }),
        ),
      );
      const slots = this.#slots;
      const kept = computed(() =>
        state.map((slot, place) => slots[place]!.narrow(0, index, 1).reshape(slot.shape)),
      );
      state.forEach((slot, place) => kept[place]!.copyFrom(slot));
      return { state: kept, memory };
    } finally {
      disposeAll(state);
    }
  }

  dispose(): void {
    disposeAll(this.#slots ?? []);
  }
}
