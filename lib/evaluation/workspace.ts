import { call, callAsync } from '../tensor/operators.js';
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
    return this.note(await callAsync(name, ...args));
  }

  /** For an operator that gives two tensors. */
  async callTwo(name: string, ...args: readonly unknown[]): Promise<[Tensor, Tensor]> {
    const [first, second] = await callAsync<[Tensor, Tensor]>(name, ...args);
    return [this.note(first), this.note(second)];
  }

  /** For an operator that computes nothing, such as `narrow`: it is called at once, which is quicker. */
  view(name: string, ...args: readonly unknown[]): Tensor {
    return this.note(call(name, ...args));
  }

  /** Notes a tensor that is made elsewhere. */
  note(tensor: Tensor): Tensor {
    this.#tensors.add(tensor);
    return tensor;
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

/** For an operator that gives one number. */
export async function callNumber(name: string, ...args: readonly unknown[]): Promise<number> {
  const result = await callAsync(name, ...args);
  try {
    return Number((await result.values())[0]);
  } finally {
    result.dispose();
  }
}
