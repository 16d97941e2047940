import { callAsync } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

/** Runs `work` and then frees the tensors that it made in its workspace, but for those that it keeps. */
export async function inWorkspace<T>(work: (space: Workspace) => Promise<T>): Promise<T> {
  const space = new Workspace();
  try {
    return await work(space);
  } finally {
    space.dispose();
  }
}

/** Calls operators off the event loop and notes their results. */
export class Workspace {
  readonly #tensors = new Set<Tensor>();

  async call(name: string, ...args: readonly unknown[]): Promise<Tensor> {
    const result = await callAsync(name, ...args);
    this.#tensors.add(result);
    return result;
  }

  /** For an operator that gives two tensors. */
  async callTwo(name: string, ...args: readonly unknown[]): Promise<[Tensor, Tensor]> {
    const results = await callAsync<[Tensor, Tensor]>(name, ...args);
    for (const result of results) this.#tensors.add(result);
    return results;
  }

  /** Leaves a tensor to the caller. */
  keep(tensor: Tensor): Tensor {
    this.#tensors.delete(tensor);
    return tensor;
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors.clear();
  }
}
