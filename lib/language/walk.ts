import { GradCacheError } from '../errors.js';
import { throwIfAborted } from '../options/abort.js';
import type { Tensor } from '../tensor/tensor.js';
import { afterEnds, computed, disposeCarried, rowMask, withoutRows } from './carried.js';
import type { Carried, Segment, SegmentModel, SegmentPass, State } from './segment-model.js';

/** What a walk is made for. */
export interface WalkOptions {
  readonly model: SegmentModel;
  /** At least one, in order, all of the same rows. */
  readonly segments: readonly Segment[];
  /** The seed of each segment. */
  readonly seeds: readonly number[];
  /** What the loss is multiplied by, above 0. */
  readonly weight: number;
  /** Rows that start anew in the first segment. */
  readonly anew: ReadonlySet<number>;
  /** Before each segment, the rows of all ranks that go on from the segment before. */
  readonly goingOn: readonly number[];
  /** Whether these are all rows of the step, and not those of one of several ranks. */
  readonly alone: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** The segments of one step, as the methods walk over them. */
export class Walk {
  readonly segments: readonly Segment[];
  readonly weight: number;
  readonly rows: number;
  readonly #options: WalkOptions;
  /** The sums of the segments' losses, in nats. */
  readonly #losses: number[] = [];
  #tokens = 0;

  constructor(options: WalkOptions) {
    this.segments = options.segments;
    this.weight = options.weight;
    this.rows = options.segments[0]!.rows;
    this.#options = options;
  }

  /** The sum of the losses of the segments that were run. */
  get loss(): number {
    return this.#losses.reduce((sum, loss) => sum + loss, 0);
  }

  get tokens(): number {
    return this.#tokens;
  }

  /** Bytes of a segment's graph; null if the model does not know. */
  graphBytes(index: number): number | null {
    return this.#options.model.graphBytes?.(this.segments[index]!) ?? null;
  }

  /** Runs a segment. @throws GradCacheError `NON_FINITE`, `ABORTED`, `SHAPE` for a wrong state; errors of the model */
  async forward(index: number, before: Carried, graph: boolean): Promise<SegmentPass> {
    const { model, signal } = this.#options;
    throwIfAborted(signal);
    const seed = this.#options.seeds[index]!;
    const pass = await model.forwardSegment(this.segments[index]!, before, { seed, graph });
    try {
      this.#note(index, pass);
      requireShapes(`the state after segment ${index}`, pass.after.state, before.state);
      return pass;
    } catch (error) {
      disposeCarried(pass.after);
      pass.dispose();
      throw error;
    }
  }

  /** Notes the loss of a first run, and compares that of a second one. */
  #note(index: number, { loss, tokens }: SegmentPass): void {
    const first = this.#losses[index];
    if (!Number.isFinite(loss))
      throw new GradCacheError(
        'NON_FINITE',
        `The loss of segment ${index} is ${loss}; no gradient was added.`,
      );
    if (first === undefined) {
      this.#losses[index] = loss;
      this.#tokens += tokens;
    } else if (Math.abs(loss - first) > 1e-5 * Math.abs(first)) {
      throw new GradCacheError(
        'INPUT',
        `segment ${index} gave the loss ${loss} in the second pass and ${first} in the first: a segment must follow from its ` +
          'tokens, the state before, the parameters and the seed alone',
      );
    }
  }

  /** What is handed on after a segment; takes `after` over. */
  handOn(index: number, after: Carried): Carried {
    const { ends = [] } = this.segments[index]!;
    const { model, alone } = this.#options;
    return afterEnds(after, this.rows, ends, () => model.initialState(this.rows), alone);
  }

  /**
   * The gradient that reaches the state at the end of a segment: none in rows that end there. The same list where no row ends,
   * else a new one.
   */
  back(index: number, gradient: State): State {
    const { ends = [] } = this.segments[index]!;
    if (ends.length === 0 || gradient.length === 0) return gradient;
    const ended = new Set(ends);
    return computed(() =>
      withoutRows(
        gradient,
        this.#mask(gradient, (row) => ended.has(row)),
      ),
    );
  }

  /** Whether a row goes on in a segment from the state that the segment before handed on. */
  goesOn(index: number): (row: number) => boolean {
    const anew = index === 0 ? this.#options.anew : new Set(this.segments[index - 1]!.ends);
    return (row) => !anew.has(row);
  }

  /** How many rows of all ranks do so. */
  goingOn(index: number): number {
    return this.#options.goingOn[index]!;
  }

  #mask(beside: State, meant: (row: number) => boolean): Tensor {
    return rowMask(this.rows, meant, beside[0]!.device);
  }
}

/** What a method makes of a walk. */
export interface Walked {
  /** What the last segment handed on. */
  readonly after: Carried;
  /** Segments that were run once, because their graph was kept. */
  readonly retained: number;
}

/** @throws GradCacheError `SHAPE` */
export function requireShapes(name: string, state: State, needed: State): void {
  const shapes = (of: State) => of.map(({ shape }) => `[${shape.join()}]`).join(' ') || 'none';
  if (shapes(state) !== shapes(needed))
    throw new GradCacheError('SHAPE', `${name} has the shapes ${shapes(state)}; ${shapes(needed)} is needed`);
}
