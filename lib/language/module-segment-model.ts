import { setImmediate } from 'node:timers/promises';
import { GradCacheError } from '../errors.js';
import { readGiven } from '../options/read-given.js';
import { backward, noGrad, withGrad, withSeed } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { requireParameterList } from '../tensor/parameter-list.js';
import { synchronous } from '../options/synchronous.js';
import { tidy, untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { disposeAll } from './carried.js';
import type { Carried, Segment, SegmentModel, SegmentOptions, SegmentPass, State } from './segment-model.js';
import { lengthOf, targetsIn } from './segments.js';

/** The tokens of a segment as tensors. */
export interface SegmentTensors {
  /** int64 [rows, length]. */
  readonly inputs: Tensor;
  /** int64 [rows, length]; -1: nothing to predict. `aten::cross_entropy_loss` takes it as `ignore_index`. */
  readonly targets: Tensor;
}

/**
 * A user-defined recurrent model. Its methods must be synchronous, a row's result must not depend on the other rows, and
 * dropout must come from libtorch's operators.
 */
export interface SegmentModule {
  /** @returns the loss, a scalar: the sum over all targets; and the state after the segment, shaped as the state before */
  forward(
    segment: SegmentTensors,
    state: State,
  ): {
    /** A scalar: the sum over all targets. */
    readonly loss: Tensor;
    /** What the next segment begins with. */
    readonly state: State;
  };
  /** The state that a stream starts from: a tensor [rows, width] a slot. */
  initialState(rows: number): State;
  /** The parameters that training changes. */
  parameters(): Parameter[];
}

/**
 * Makes a {@link SegmentModel} of a {@link SegmentModule}, with libtorch's autograd. Its forward runs on the JavaScript
 * thread, one segment per turn of the event loop; backward runs on the engine.
 *
 * @example
 * ```ts
 * class Bigrams implements SegmentModule {
 *   readonly #scores = Tensor.from(new Float32Array(256 * 256), { shape: [256, 256] }); // of each byte behind each other
 *   forward({ inputs, targets }: SegmentTensors, state: State) {
 *     const scores = call('aten::embedding', this.#scores, inputs.reshape([-1]));
 *     const loss = call('aten::cross_entropy_loss', scores, targets.reshape([-1]), null, 2); // 2: the sum
 *     return { loss, state };
 *   }
 *   initialState(): State {
 *     return []; // it remembers nothing
 *   }
 *   parameters(): Parameter[] {
 *     this.#scores.requiresGrad = true;
 *     return [{ name: 'scores', tensor: this.#scores, decay: true }];
 *   }
 * }
 * const model = new ModuleSegmentModel(new Bigrams());
 * ```
 */
export class ModuleSegmentModel implements SegmentModel {
  readonly #module: SegmentModule;

  /** @throws GradCacheError `INPUT` when the object lacks one of the methods */
  constructor(module: SegmentModule) {
    for (const method of ['forward', 'initialState', 'parameters'] as const) {
      if (typeof module?.[method] !== 'function')
        throw new GradCacheError(
          'INPUT',
          'a recurrent model needs the methods forward(segment, state), initialState(rows) and parameters()',
        );
    }
    this.#module = module;
  }

  /** The device of the first parameter. */
  get device(): string {
    return this.parameters()[0]?.tensor.device ?? 'cpu';
  }

  /** The parameters that training changes. */
  parameters(): Parameter[] {
    return requireParameterList('what parameters() returned', this.#module.parameters());
  }

  initialState(rows: number): Carried {
    const state = untracked(() => synchronous('initialState()', this.#module.initialState(rows)));
    requireState('initialState()', state);
    const wrong = state.find(({ shape }) => shape.length !== 2 || shape[0] !== rows);
    if (wrong !== undefined)
      throw new GradCacheError(
        'SHAPE',
        `initialState(${rows}) returned a tensor of shape [${wrong.shape.join()}]; [${rows}, width] is needed`,
      );
    return { state, memory: [] };
  }

  async forwardSegment(segment: Segment, before: Carried, options: SegmentOptions): Promise<SegmentPass> {
    await setImmediate();
    const { graph } = options;
    const leaves = before.state.map((slot) => leafOf(slot, graph));
    try {
      const { loss, state } = this.#forward(segment, leaves, options);
      try {
        const sum = Number((await loss.values())[0]);
        const after = { state: untracked(() => state.map((slot) => slot.detach())), memory: [] };
        return new ModulePass(sum, targetsIn(segment), after, graph ? { loss, state, leaves } : null);
      } finally {
        if (!graph) disposeAll([loss, ...state]);
      }
    } finally {
      if (!graph) disposeAll(leaves);
    }
  }

  /** Its result outlives any block of tidy. */
  #forward(segment: Segment, leaves: State, { seed, graph }: SegmentOptions): Result {
    const shape = [segment.rows, lengthOf(segment)];
    const mode = graph ? withGrad : noGrad;
    return untracked(() =>
      tidy(() => {
        const { device } = leaves[0] ?? this;
        const inputs = Tensor.from(segment.inputs, { shape, dtype: 'int64', device });
        const targets = Tensor.from(segment.targets, { shape, dtype: 'int64', device });
        const result: unknown = withSeed(seed, () =>
          mode(() => synchronous('forward()', this.#module.forward({ inputs, targets }, leaves) as unknown)),
        );
        return resultOf(result, leaves, graph);
      }),
    );
  }
}

interface Result {
  readonly loss: Tensor;
  readonly state: State;
}

/** A segment with its graph, from the leaves that stand for the state before. */
class ModulePass implements SegmentPass {
  #graph: (Result & { readonly leaves: State }) | null;

  constructor(
    readonly loss: number,
    readonly tokens: number,
    readonly after: Carried,
    graph: (Result & { readonly leaves: State }) | null,
  ) {
    this.#graph = graph;
  }

  async backward(lossSeed: number, stateGradient: State | null): Promise<State> {
    const graph = this.#graph;
    if (graph === null)
      throw new GradCacheError('INPUT', 'backward of a segment needs its graph, which is there once');
    this.#graph = null;
    const { loss, state, leaves } = graph;
    const { dtype, device } = loss;
    const seed = untracked(() => Tensor.from([lossSeed], { shape: loss.shape, dtype, device }));
    try {
      // A root without a graph, as the loss of a segment without targets may be, has no gradient to give.
      const roots = [
        { root: loss, seed },
        ...state.map((root, slot) => ({ root, seed: stateGradient?.[slot] })),
      ].filter(({ root, seed: given }) => root.requiresGrad && given !== undefined);
      if (roots.length > 0)
        await backward(
          roots.map(({ root }) => root),
          roots.map(({ seed: given }) => given!),
        );
      return untracked(() => leaves.map((leaf) => leaf.grad ?? call('aten::zeros_like', leaf)));
    } finally {
      disposeAll([seed, loss, ...state, ...leaves]);
    }
  }

  dispose(): void {
    if (this.#graph !== null) disposeAll([this.#graph.loss, ...this.#graph.state, ...this.#graph.leaves]);
    this.#graph = null;
  }
}

/** A handle of its own on the state before, in which backward adds up its gradient. */
function leafOf(slot: Tensor, graph: boolean): Tensor {
  return untracked(() => {
    const leaf = slot.detach();
    if (graph) leaf.requiresGrad = true;
    return leaf;
  });
}

/** @throws GradCacheError `INPUT`, `SHAPE` for a wrong result of forward */
function resultOf(result: unknown, before: State, graph: boolean): Result {
  const { loss, state } = readGiven('what forward() returned', () => ({
    ...(result as { loss?: unknown; state?: unknown } | null),
  }));
  if (!(loss instanceof Tensor) || loss.size !== 1)
    throw new GradCacheError('INPUT', 'forward() must return { loss, state } with a loss of one element');
  if (graph && !loss.requiresGrad && !before.some(({ requiresGrad }) => requiresGrad))
    throw new GradCacheError(
      'INPUT',
      'forward() returned a loss that depends on no parameter with requiresGrad',
    );
  requireState('forward()', state, before);
  // A state handed on as it came is another handle, so that it can be disposed by itself.
  return { loss, state: state.map((slot) => (before.includes(slot) ? call('aten::alias', slot) : slot)) };
}

/** @throws GradCacheError `INPUT`, `SHAPE` unless it is a list of tensors, shaped as those `before` */
function requireState(method: string, state: unknown, before?: State): asserts state is State {
  if (!Array.isArray(state) || !state.every((slot) => slot instanceof Tensor))
    throw new GradCacheError('INPUT', `the state that ${method} returned must be a list of tensors`);
  const slots = state as State;
  if (before === undefined) return;
  const shapes = (of: State) => of.map(({ shape }) => `[${shape.join()}]`).join(' ') || 'none';
  if (shapes(slots) !== shapes(before))
    throw new GradCacheError(
      'SHAPE',
      `the state that ${method} returned has the shapes ${shapes(slots)}, the state before ${shapes(before)}`,
    );
}
