import { leavesOf, noGrad } from './autograd.js';
import { ModelParameter } from './model-parameter.js';
import { call } from './operators.js';
import { RowParameter, type RowGradient } from './row-parameter.js';
import { untracked } from './scope.js';
import { TensorList } from './tensor-list.js';
import type { Tensor } from './tensor.js';

/**
 * The gradients of some tensors as they are now, so that a step that fails can leave them so. Gradients that are all zero,
 * the usual case, are not copied.
 */
export class GradientSnapshot {
  readonly #saved: { readonly gradient: Tensor; readonly copy: Tensor | null }[] = [];
  /** Tables by rows, with a copy of what they had. */
  readonly #tables: { readonly table: RowParameter; readonly copy: RowGradient }[] = [];
  /** Tensors that had no gradient. */
  readonly #without: Tensor[] = [];
  readonly #known: Tensor[];
  /** Handles of the snapshot's own. */
  readonly #own: Tensor[] = [];

  private constructor(leaves: readonly Tensor[]) {
    this.#known = [...leaves];
  }

  static async take(leaves: readonly Tensor[]): Promise<GradientSnapshot> {
    const snapshot = new GradientSnapshot(leaves);
    try {
      await snapshot.#add(leaves);
      return snapshot;
    } catch (error) {
      snapshot.dispose();
      throw error;
    }
  }

  /**
   * Adds the gradients of tensors that a backward from `root` reaches and that no list of parameters names.
   *
   * @param except leaves whose gradients the caller frees
   */
  async addBelow(root: Tensor, except: readonly Tensor[] = []): Promise<void> {
    const leaves = untracked(() => leavesOf(root, [...this.#known, ...except]));
    this.#known.push(...leaves);
    this.#own.push(...leaves);
    await this.#add(leaves);
  }

  /** Parameters of one native model are saved together, as the one buffer that they share. */
  async #add(leaves: readonly Tensor[]): Promise<void> {
    const gradients = new Set<Tensor>();
    for (const leaf of leaves) {
      if (leaf instanceof ModelParameter) {
        gradients.add(leaf.buffer);
        continue;
      }
      if (leaf instanceof RowParameter && this.#addTable(leaf)) continue;
      const gradient = untracked(() => leaf.grad);
      if (gradient === null) {
        this.#without.push(leaf);
        continue;
      }
      this.#own.push(gradient);
      gradients.add(gradient);
    }
    await this.#save([...gradients]);
  }

  /** @returns whether it has a gradient */
  #addTable(table: RowParameter): boolean {
    const gradient = table.rowGradient();
    if (gradient === null) return false;
    try {
      this.#tables.push({ table, copy: copyOf(gradient) });
      return true;
    } finally {
      gradient.dispose();
    }
  }

  async #save(gradients: readonly Tensor[]): Promise<void> {
    if (gradients.length === 0) return;
    const list = TensorList.of(gradients);
    try {
      const filled = await list.anyNonZero();
      for (const [k, gradient] of gradients.entries()) {
        const copy = filled[k] === true ? untracked(() => noGrad(() => gradient.clone())) : null;
        this.#saved.push({ gradient, copy });
      }
    } finally {
      list.dispose();
    }
  }

  restore(): void {
    noGrad(() => {
      for (const { gradient, copy } of this.#saved) {
        if (gradient.disposed) continue;
        if (copy === null) call('aten::zero_', gradient).dispose();
        else gradient.copyFrom(copy);
      }
      for (const { table, copy } of this.#tables) {
        if (table.disposed) continue;
        const again = copyOf(copy); // which an update may write
        table.setRowGradient(again);
        again.dispose();
      }
      for (const tensor of this.#without) if (!tensor.disposed) tensor.grad = null;
    });
  }

  dispose(): void {
    for (const { copy } of [...this.#saved, ...this.#tables]) copy?.dispose();
    for (const tensor of this.#own) tensor.dispose();
  }
}

function copyOf({ rows, values }: RowGradient): RowGradient {
  const copies = untracked(() => noGrad(() => ({ rows: rows.clone(), values: values.clone() })));
  const dispose = (): void => {
    copies.rows.dispose();
    copies.values.dispose();
  };
  return { ...copies, dispose };
}
