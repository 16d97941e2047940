import type { Ranks } from '../distributed/ranks.js';
import type { TensorList } from '../tensor/tensor-list.js';
import type { StateTensors } from './slots.js';

/** Settings that every optimizer has. */
export interface SlotOptimizerOptions {
  /** Learning rate. */
  readonly lr: number;
  /** Decoupled weight decay of parameters whose `decay` is true (weights, not biases or norms). */
  readonly weightDecay: number;
  /** Gradients are scaled so that their global 2-norm is at most this; Infinity: no clipping. */
  readonly maxGradNorm: number;
  /** The ranks over which state and updates are divided, or none. */
  readonly ranks?: Ranks | null | undefined;
  /** How weights of bfloat16 are updated; undefined: as any others, in their own type. */
  readonly masterWeights?: MasterWeights | undefined;
  /** Of the rounding by chance, which only `masterWeights: 'none'` has. */
  readonly seed?: number | undefined;
}

/**
 * Where the float32 copies are of weights that are kept in bfloat16. `'host'`: copies and state lie in the memory of the host,
 * whose processor makes the update. `'none'`: there are none; weights are updated in float32, some tensors at a time, and rounded by
 * chance.
 */
export type MasterWeights = 'host' | 'none';

/** Parameters that share device, element type and settings, and what their update needs. All lists have one length. */
export interface Update<Name extends string> {
  readonly parameters: TensorList;
  readonly gradients: TensorList;
  /** Updated in place. */
  readonly state: Readonly<Record<Name, TensorList>>;
  readonly lr: number;
  readonly weightDecay: number;
}

/** What defines an optimizer. */
export interface OptimizerParts<Name extends string> {
  /** For messages. */
  readonly name: string;
  readonly state: StateTensors<Name>;
  /** Updates parameters and their state in place. */
  readonly update: (alike: Update<Name>) => Promise<void>;
}
