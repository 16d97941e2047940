import { noGrad } from './autograd.js';
import { call, callAsync } from './operators.js';
import type { Tensor } from './tensor.js';

/**
 * The gradients as they are now, so that a step that fails can leave them so. Gradients that are all zero, the usual
 * case, are not copied.
 */
export class GradientSnapshot {
  readonly #saved: readonly { readonly gradient: Tensor; readonly copy: Tensor | null }[];
  readonly #without: readonly Tensor[];

  private constructor(
    saved: readonly { readonly gradient: Tensor; readonly copy: Tensor | null }[],
    without: readonly Tensor[],
  ) {
    this.#saved = saved;
    this.#without = without;
  }

  /**
   * @param buffers tensors that hold gradients
   * @param leaves those of them that have no gradient yet have none again after {@link GradientSnapshot.restore}
   */
  static async take(buffers: readonly Tensor[], leaves: readonly Tensor[]): Promise<GradientSnapshot> {
    const without = leaves.filter((tensor) => !tensor.disposed && tensor.grad === null);
    const saved: { gradient: Tensor; copy: Tensor | null }[] = [];
    const snapshot = new GradientSnapshot(saved, without);
    try {
      for (const gradient of buffers) {
        const zero = await isZero(gradient);
        saved.push({ gradient, copy: zero ? null : noGrad(() => gradient.clone()) });
      }
      return snapshot;
    } catch (error) {
      snapshot.dispose();
      throw error;
    }
  }

  restore(): void {
    noGrad(() => {
      for (const { gradient, copy } of this.#saved) {
        if (gradient.disposed) continue;
        if (copy === null) call('aten::zero_', gradient).dispose();
        else gradient.copyFrom(copy);
      }
      for (const tensor of this.#without) if (!tensor.disposed) tensor.grad = null;
    });
  }

  dispose(): void {
    for (const { copy } of this.#saved) copy?.dispose();
  }
}

async function isZero(tensor: Tensor): Promise<boolean> {
  const any = await callAsync('aten::any', tensor);
  try {
    return (await any.values())[0] === 0;
  } finally {
    any.dispose();
  }
}
