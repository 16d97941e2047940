import { leavesOf, noGrad } from './autograd.js';
import { call, callAsync } from './operators.js';
import { untracked } from './scope.js';
import type { Tensor } from './tensor.js';

/**
 * The gradients as they are now, so that a step that fails can leave them so. Gradients that are all zero, the usual
 * case, are not copied.
 */
export class GradientSnapshot {
  readonly #saved: { readonly gradient: Tensor; readonly copy: Tensor | null }[] = [];
  /** Tensors that had no gradient. */
  readonly #without: Tensor[] = [];
  readonly #known: Tensor[];
  /** Handles of the snapshot's own. */
  readonly #own: Tensor[] = [];

  private constructor(leaves: readonly Tensor[]) {
    this.#known = [...leaves];
  }

  /**
   * @param buffers tensors that hold gradients
   * @param leaves those of them that have no gradient yet have none again after {@link GradientSnapshot.restore}
   */
  static async take(buffers: readonly Tensor[], leaves: readonly Tensor[]): Promise<GradientSnapshot> {
    const snapshot = new GradientSnapshot(leaves);
    try {
      snapshot.#without.push(...leaves.filter((tensor) => !tensor.disposed && tensor.grad === null));
      for (const gradient of buffers) await snapshot.#save(gradient);
      return snapshot;
    } catch (error) {
      snapshot.dispose();
      throw error;
    }
  }

  /** Adds the gradients of tensors that a backward from `root` reaches and that no list of parameters names. */
  async addBelow(root: Tensor): Promise<void> {
    const leaves = untracked(() => leavesOf(root, this.#known));
    this.#known.push(...leaves);
    this.#own.push(...leaves);
    for (const leaf of leaves) {
      const gradient = untracked(() => leaf.grad);
      if (gradient === null) {
        this.#without.push(leaf);
        continue;
      }
      this.#own.push(gradient);
      await this.#save(gradient);
    }
  }

  async #save(gradient: Tensor): Promise<void> {
    const zero = await isZero(gradient);
    this.#saved.push({ gradient, copy: zero ? null : untracked(() => noGrad(() => gradient.clone())) });
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
    for (const tensor of this.#own) tensor.dispose();
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
