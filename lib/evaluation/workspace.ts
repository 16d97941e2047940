import { call, callAsync } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';

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

  /** Notes tensors that are made elsewhere: one, or those of a record. */
  note<T>(held: T): T {
    for (const tensor of tensorsIn(held)) this.#tensors.add(tensor);
    return held;
  }

  /** Leaves tensors to the caller: one, or those of a record. */
  keep<T>(held: T): T {
    for (const tensor of tensorsIn(held)) this.#tensors.delete(tensor);
    return held;
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors.clear();
  }
}

/** Frees tensors: one, or those of a record or list. */
export function disposeAll(held: unknown): void {
  for (const tensor of tensorsIn(held)) tensor.dispose();
}

function tensorsIn(held: unknown): Tensor[] {
  if (held instanceof Tensor) return [held];
  return typeof held === 'object' && held !== null ? Object.values(held).flatMap(tensorsIn) : [];
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
