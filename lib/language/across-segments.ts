import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireSignal, requireWeight } from '../options/option-values.js';
import { drawSeed, requireSeed } from '../options/seeds.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { ParameterSet } from '../tensor/parameter-set.js';
import type { Parameter } from '../tensor/tensor.js';
import {
  alternating,
  isSynthetic,
  type AlternatingGradients,
  type AlternatingOptions,
} from './alternating.js';
import { disposeCarried } from './carried.js';
import { exactGradients, walkExactly, type ExactGradients } from './exact.js';
import type { Carried, Segment, SegmentModel } from './segment-model.js';
import { lengthOf, requireSegments, targetsIn } from './segments.js';
import { countsIn, partOf, requireNothingElse, requireStoredState, storedNumbers } from './stored-state.js';
import { newStream, restoreStream, storeStream, type Stream } from './stream.js';
import { SynthesiserLearner, type Learnt } from './synthesiser-learner.js';
import { syntheticGradients, type SyntheticGradients } from './synthetic.js';
import { walkForward } from './truncated.js';
import { Walk, type Walked } from './walk.js';

/** Where the gradient of the state that a segment hands on comes from. */
export type Across = 'none' | 'exact' | ExactGradients | SyntheticGradients | AlternatingGradients;

/** Options of {@link AcrossSegments}. */
export interface AcrossOptions {
  /**
   * - `'none'`: nowhere, which is truncated backpropagation through time;
   * - `'exact'` or {@link exactGradients}: from the segments that follow in the step;
   * - {@link syntheticGradients}: from a model that predicts it;
   * - {@link alternating}: from that model, and real ones (none, or exact) in turn.
   */
  readonly across: Across;
  /** Seed of dropout. Default 0. */
  readonly seed?: number;
}

/** Options of {@link AcrossSegments.step}. */
export interface SegmentStepOptions {
  /** What the loss, a sum over all targets of the step, is multiplied by. Default: 1 / targets, so that it is a mean. */
  readonly weight?: number;
  /** Seed of this step's dropout. Default: drawn from the seed of the whole. */
  readonly seed?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What {@link AcrossSegments.step} tells. */
export interface SegmentStepResult {
  /** Mean negative log-likelihood of a target, in nats; 0 without targets. */
  readonly loss: number;
  readonly tokens: number;
  /** Segments that were run once: in exact training the others are run twice. */
  readonly retained: number;
  /** Which gradients came back from one segment to the one before. */
  readonly gradients: 'none' | 'exact' | 'synthetic';
  /** What the synthesiser did. */
  readonly synthesiser: Learnt | null;
}

/**
 * Training on streams that are read in segments. A step runs one or more segments in order, from the state that the step before
 * has handed on, and adds the gradient of their loss. The optimizer makes the update.
 *
 * ```ts
 * const training = new AcrossSegments(model, { across: 'exact' });
 * const optimizer = new AdamW(training.parameters(), { lr: 1e-3, maxGradNorm: 1 });
 * await training.step(segments);
 * await optimizer.step();
 * ```
 */
export class AcrossSegments {
  readonly #model: SegmentModel;
  readonly #across: Exclude<Across, 'exact'>;
  readonly #seed: number;
  readonly #learner: SynthesiserLearner | null;
  #steps = 0;
  #stream: Stream | null = null;
  #running = false;
  #disposed = false;

  /** @throws GradCacheError `INPUT`; `SHAPE` for a synthesiser of another width than the model's state */
  constructor(model: SegmentModel, options: AcrossOptions) {
    checkKnown('AcrossSegments', options, ['across', 'seed']);
    if (typeof model?.forwardSegment !== 'function')
      throw refused('the model of AcrossSegments', model, 'a SegmentModel');
    const { across, seed = 0 } = options;
    requireSeed(seed);
    this.#model = model;
    this.#across = across === 'exact' ? exactGradients() : requireAcross(across);
    this.#seed = seed;
    this.#learner = learnerOf(model, this.#across);
  }

  /** The model's parameters. The synthesiser has an optimizer of its own. */
  parameters(): Parameter[] {
    return this.#model.parameters();
  }

  /** Where in their streams the rows are: how many tokens the steps since the start or the last {@link reset} have read. */
  get position(): number {
    return this.#stream?.position ?? 0;
  }

  /**
   * Adds the gradient of the loss of some segments to the parameters' gradients.
   *
   * @throws GradCacheError before anything runs: `INPUT` for an empty segment, segments in the wrong order, or a step without
   * targets; `SHAPE` for segments of other rows than the state. Also `NON_FINITE`, `ABORTED`, `OUT_OF_MEMORY`, and whatever
   * the model throws. A step that fails leaves gradients, state and synthesiser as they were.
   */
  async step(
    segments: Segment | readonly Segment[],
    options: SegmentStepOptions = {},
  ): Promise<SegmentStepResult> {
    this.#requireIdle();
    checkKnown('step', options, ['weight', 'seed', 'signal']);
    const list: readonly unknown[] = Array.isArray(segments) ? Array.from<unknown>(segments) : [segments];
    requireSegments(list, this.#stream?.rows, this.position);
    const targets = list.reduce((sum, segment) => sum + targetsIn(segment), 0);
    const { weight = targets > 0 ? 1 / targets : undefined, seed, signal } = options;
    if (weight === undefined)
      throw new GradCacheError(
        'INPUT',
        'the segments have no target: give the step a weight to run them all the same',
      );
    requireWeight('weight of a step', weight, { above: 0 });
    if (seed !== undefined) requireSeed(seed);
    requireSignal('signal of a step', signal);
    return this.#exclusive(() => {
      const parameters = new ParameterSet(this.parameters());
      return parameters.whileStepping(() => this.#step(parameters, list, { weight, seed, signal }));
    });
  }

  async #step(
    parameters: ParameterSet,
    segments: readonly Segment[],
    { weight, seed, signal }: { weight: number; seed: number | undefined; signal: AbortSignal | undefined },
  ): Promise<SegmentStepResult> {
    const stream = this.#stream ?? newStream(this.#model, segments[0]!.rows);
    const stepSeed = seed ?? drawSeed('step', this.#seed, this.#steps);
    const walk = new Walk({
      model: this.#model,
      segments,
      seeds: segments.map((_, index) => drawSeed('segment', stepSeed, index)),
      weight,
      anew: stream.anew,
      signal,
    });
    const before = await parameters.snapshot();
    try {
      const { walked, gradients, synthesiser } = await this.#run(walk, stream.carried);
      disposeCarried(stream.carried);
      this.#stream = {
        rows: stream.rows,
        carried: walked.after,
        anew: new Set(segments.at(-1)!.ends),
        position: segments.reduce((sum, segment) => sum + lengthOf(segment), stream.position),
      };
      this.#steps++;
      const { loss, tokens } = walk;
      const { retained } = walked;
      return { loss: tokens > 0 ? loss / tokens : 0, tokens, retained, gradients, synthesiser };
    } catch (error) {
      before.restore();
      if (this.#stream === null) disposeCarried(stream.carried);
      await this.#learner?.forget();
      throw error;
    } finally {
      before.dispose();
    }
  }

  async #run(
    walk: Walk,
    first: Carried,
  ): Promise<{ walked: Walked } & Pick<SegmentStepResult, 'gradients' | 'synthesiser'>> {
    const across = this.#across;
    if (across === 'none')
      return { walked: await walkForward(walk, first), gradients: 'none', synthesiser: null };
    if (across.kind === 'exact')
      return { walked: await walkExactly(walk, first, across.retain), gradients: 'exact', synthesiser: null };
    const synthetic = across.kind === 'synthetic' || isSynthetic(across, this.#steps);
    const gradients = synthetic ? 'synthetic' : across.real;
    const learner = this.#learner!;
    const learning = learner.learn(walk, synthetic ? learner.settings.factor : 0);
    let walked: Walked | undefined;
    try {
      walked =
        gradients === 'exact'
          ? await walkExactly(walk, first, 'last', async (index, before, gradient, after) => {
              await learning.begin(index, before);
              await learning.seed(index, after);
              await learning.end(index, gradient);
            })
          : await walkForward(walk, first, learning);
      return { walked, gradients, synthesiser: await learner.update(learning) };
    } catch (error) {
      if (walked !== undefined) disposeCarried(walked.after);
      learning.dispose();
      throw error;
    }
  }

  /** Makes the next step start from the initial state, with any number of rows. */
  reset(): void {
    this.#requireIdle();
    if (this.#stream !== null) disposeCarried(this.#stream.carried);
    this.#stream = null;
    this.#learner?.reset();
  }

  /**
   * What a checkpoint needs beside the model: the state of the rows, the synthesiser with its optimizer, and the count of steps.
   *
   * @throws GradCacheError `INPUT` while a step runs
   */
  async state(): Promise<Map<string, StoredTensor>> {
    return this.#exclusive(async () => {
      const stored = new Map<string, StoredTensor>();
      const stream = this.#stream;
      stored.set('counts', storedNumbers([this.#steps, stream?.rows ?? 0, stream?.position ?? 0]));
      if (stream !== null) for (const [name, tensor] of await storeStream(stream)) stored.set(name, tensor);
      for (const [name, tensor] of (await this.#learner?.state()) ?? [])
        stored.set(`synthesiser.${name}`, tensor);
      return stored;
    });
  }

  /**
   * Restores what {@link state} returned: all of it or none.
   *
   * @throws GradCacheError `CHECKPOINT` when a tensor is missing, left over, or of another shape or type; `INPUT` while a step runs
   */
  loadState(stored: ReadonlyMap<string, StoredTensor>): void {
    this.#requireIdle();
    requireStoredState('the state across segments', stored);
    const [steps, rows, position] = countsIn(stored, 'counts', 3);
    const known = /^(counts|anew|(state|memory)\.\d+|synthesiser\..*)$/;
    requireNothingElse([...stored.keys()].filter((name) => !known.test(name)));
    const synthesiser = partOf(stored, 'synthesiser.');
    if (this.#learner === null)
      requireNothingElse([...synthesiser.keys()].map((name) => `synthesiser.${name}`));
    const stream = rows! > 0 ? restoreStream(this.#model, stored, rows!, position!) : null;
    try {
      this.#learner?.loadState(synthesiser, rows!);
    } catch (error) {
      if (stream !== null) disposeCarried(stream.carried);
      throw error;
    }
    if (this.#stream !== null) disposeCarried(this.#stream.carried);
    this.#stream = stream;
    this.#steps = steps!;
  }

  /** Frees the state and the synthesiser; the model stays. */
  dispose(): void {
    this.#requireIdle();
    if (this.#stream !== null) disposeCarried(this.#stream.carried);
    this.#stream = null;
    this.#learner?.dispose();
    this.#disposed = true;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #requireIdle(): void {
    if (this.#disposed) throw new GradCacheError('DISPOSED', 'this AcrossSegments was disposed');
    if (this.#running)
      throw new GradCacheError('INPUT', 'a step of this AcrossSegments is still running: await it first');
  }

  async #exclusive<T>(run: () => Promise<T>): Promise<T> {
    this.#requireIdle();
    this.#running = true;
    try {
      return await run();
    } finally {
      this.#running = false;
    }
  }
}

/** @throws GradCacheError `INPUT` */
function requireAcross(across: unknown): Exclude<Across, 'exact'> {
  if (across === 'none') return across;
  const { kind, ...options } = (across ?? {}) as { kind?: unknown };
  // Through the functions that make them, for what a caller has put together without.
  if (kind === 'exact') return exactGradients(options);
  if (kind === 'synthetic') return syntheticGradients(options);
  if (kind === 'alternating') {
    const { synthetic, ...rest } = options as Partial<AlternatingGradients>;
    const { kind: _, ...predicted } = (synthetic ?? {}) as Partial<SyntheticGradients>;
    return alternating({ ...rest, ...predicted } as AlternatingOptions);
  }
  throw refused('across', across, "'none', 'exact', exactGradients(), syntheticGradients() or alternating()");
}

/** @throws GradCacheError `INPUT`, `SHAPE` */
function learnerOf(model: SegmentModel, across: Exclude<Across, 'exact'>): SynthesiserLearner | null {
  if (across === 'none' || across.kind === 'exact') return null;
  const initial = model.initialState(1);
  try {
    if (initial.state.length === 0)
      throw new GradCacheError(
        'INPUT',
        'the model hands on no state, so no gradient of one can be predicted',
      );
    return new SynthesiserLearner(across.kind === 'synthetic' ? across : across.synthetic, initial.state);
  } finally {
    disposeCarried(initial);
  }
}
