import type { Parameter, Tensor } from '../tensor/tensor.js';

/** A tensor [rows, width] for each slot of a recurrent state, float32, or float64 where the model computes in float64. */
export type State = readonly Tensor[];

/** What a segment hands to the next one, cut off from every graph. */
export interface Carried {
  /** The recurrent state: a gradient may go back through it. */
  readonly state: State;
  /** What the next segment reads as a constant, such as the attention memory of SRU++; each has its rows in order. */
  readonly memory: readonly Tensor[];
}

/** A piece of several streams of tokens, one stream a row. All rows have the same length. */
export interface Segment {
  /** How many texts are read side by side. */
  readonly rows: number;
  /** Token ids [rows, length], row after row. */
  readonly inputs: Int32Array;
  /** The token to predict at each place of `inputs`; -1: none, so the place adds nothing to the loss. */
  readonly targets: Int32Array;
  /** Where the first token stands in its stream. If given, it must be the place where the segment before ended. */
  readonly start?: number;
  /** Rows whose document ends in this segment: their state is not handed on, and the next segment starts anew there. */
  readonly ends?: readonly number[];
}

/** How a segment is to be run. */
export interface SegmentOptions {
  /** Dropout follows from it and from the place alone: a second run with the same seed drops the same. */
  readonly seed: number;
  /** Whether {@link SegmentPass.backward} will be called. */
  readonly graph: boolean;
}

/** A model that reads streams of tokens segment by segment. */
export interface SegmentModel {
  /** Where it lives: `'cpu'` or `'cuda:N'`. */
  readonly device: string;
  /** The parameters that training changes. */
  parameters(): Parameter[];
  /** What the first segment starts from. The caller disposes it. */
  initialState(rows: number): Carried;
  /** Runs a segment from `before`, which stays the caller's and must live until the pass is disposed. */
  forwardSegment(segment: Segment, before: Carried, options: SegmentOptions): Promise<SegmentPass>;
  /** Bytes that the graph of a segment takes; null if unknown. */
  graphBytes?(segment: Segment): number | null;
}

/** A segment that was run. */
export interface SegmentPass {
  /** Negative log-likelihood in nats, summed over the targets. */
  readonly loss: number;
  /** How many targets there are. */
  readonly tokens: number;
  /** What the next segment starts from. The caller disposes it; it outlives the pass. */
  readonly after: Carried;
  /**
   * Adds to the parameters' gradients that of `lossSeed * loss + <stateGradient, after.state>`, in one backward. To be called
   * at most once.
   *
   * @param stateGradient one tensor for each slot of the state; null: zero
   * @returns the gradient of the state before, which the caller disposes
   * @throws GradCacheError `INPUT` where the pass has no graph, or its graph was used; `SHAPE`
   */
  backward(lossSeed: number, stateGradient: State | null): Promise<State>;
  /** Frees the graph. */
  dispose(): void;
}
