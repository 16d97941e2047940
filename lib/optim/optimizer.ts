import type { StoredTensor } from '../safetensors/safetensors.js';

/** Updates parameters from their gradients. */
export interface Optimizer {
  /** The learning rate of the next update; set it from a schedule. */
  lr: number;
  /** Updates the parameters, sets the gradients to zero, and returns their global 2-norm before clipping. */
  step(): Promise<{
    /** The norm, before clipping. */
    gradNorm: number;
  }>;
  /** Sets every gradient to zero in place, to skip an update. */
  zeroGrad(): Promise<void>;
  /** Whether the state is divided over ranks: then all of them call {@link Optimizer.state}, and the first has the result. */
  readonly divided: boolean;
  /** What a checkpoint needs for {@link Optimizer.loadState}, on the host. */
  state(): Promise<Map<string, StoredTensor>>;
  /** Restores a state: all of it or none. */
  loadState(stored: ReadonlyMap<string, StoredTensor>): void;
  /** Frees the state; the parameters stay. */
  dispose(): void;
}
