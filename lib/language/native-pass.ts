import { guardedAsync, type SegmentGraphHandle, type TensorHandle } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { requireNumber } from '../options/option-values.js';
import { untracked } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { requireTensors } from './carried.js';
import type { Carried, SegmentPass, State } from './segment-model.js';

/** Native tensors as this package's, which outlive any block of tidy. */
export function tensorsOf(handles: readonly TensorHandle[]): Tensor[] {
  return untracked(() => handles.map((handle) => new Tensor(handle)));
}

/** A segment that a {@link LanguageModel} has read. */
export interface LanguagePass extends SegmentPass {
  /** What the activation and slowness penalties add to the loss. The backward has its gradient too, times the same seed. */
  readonly penalty: number;
}

/** A pass with a native graph. */
export class NativePass implements LanguagePass {
  readonly #graph: SegmentGraphHandle | null;

  constructor(
    readonly loss: number,
    readonly penalty: number,
    readonly tokens: number,
    readonly after: Carried,
    graph: SegmentGraphHandle | null,
  ) {
    this.#graph = graph;
  }

  async backward(lossSeed: number, stateGradient: State | null): Promise<State> {
    const graph = this.#graph;
    if (graph === null)
      throw new GradCacheError('INPUT', 'backward of a segment needs its graph: ask for it with graph: true');
    requireNumber('lossSeed', lossSeed);
    if (stateGradient !== null) requireTensors('stateGradient', stateGradient);
    const gradient = stateGradient?.map((tensor) => tensor.handle) ?? null;
    return tensorsOf(await guardedAsync(() => graph.backward(lossSeed, gradient, 0)));
  }

  dispose(): void {
    this.#graph?.dispose();
  }
}
