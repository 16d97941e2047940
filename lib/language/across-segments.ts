import { requireRanks, type Ranks } from '../distributed/ranks.js';
import { SharedGradients } from '../distributed/shared-gradients.js';
import { onEach, refuseTogether, toldByEach } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused } from '../options/option-values.js';
import { drawSeed, requireSeed } from '../options/seeds.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import type { GradientSnapshot } from '../tensor/gradient-snapshot.js';
import { ParameterSet } from '../tensor/parameter-set.js';
import type { Parameter } from '../tensor/tensor.js';
import { agreeOnStep, BEGIN, type AgreedStep, type SegmentStepOptions } from './agreed-step.js';
import {
  alternating,
  isSynthetic,
  type AlternatingGradients,
  type AlternatingOptions,
} from './alternating.js';
import { disposeCarried } from './carried.js';
import { exactGradients, walkExactly, type ExactGradients } from './exact.js';
import type { Carried, Segment, SegmentModel } from './segment-model.js';
import { rowsOfRank } from './rows-of-ranks.js';
import { lengthOf } from './segments.js';
import { countsIn, partOf, requireNothingElse, requireStoredState, storedNumbers } from './stored-state.js';
import { newStream, restoreStream, rowsOfAll, storeStream, type Stream } from './stream.js';
import { SynthesiserLearner, type Learning, type Learnt } from './synthesiser-learner.js';
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
  /**
   * Processes that train together, each with rows of its own: of all rows in order the first ranks have the first ones, as many as
   * the others or one less. All make the same calls, with segments of the same lengths. Default: none, this process alone.
   */
  readonly ranks?: Ranks | null | undefined;
}

/** Numbers of a rank besides those of its gradients: loss, tokens, error of the synthesiser. */
const COUNTS = 3;

/** The walk of a step, before its gradients are those of all ranks. */
interface Run extends Pick<SegmentStepResult, 'gradients'> {
  readonly walked: Walked;
  readonly learning: Learning | null;
}

/** What {@link AcrossSegments.step} tells. */
export interface SegmentStepResult {
  /** Mean negative log-likelihood of a target, in nats; 0 without targets. */
  readonly loss: number;
  /** Tokens that were predicted. */
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
 * const training = new AcrossSegments(languageModel, { across: 'exact' });
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
  readonly #ranks: Ranks | null;
  #steps = 0;
  #stream: Stream | null = null;
  #running = false;
  #disposed = false;

  /** @throws GradCacheError `INPUT`; `SHAPE` for a synthesiser of another width than the model's state */
  constructor(model: SegmentModel, options: AcrossOptions) {
    checkKnown('AcrossSegments', options, ['across', 'seed', 'ranks']);
    if (typeof model?.forwardSegment !== 'function')
      throw refused('the model of AcrossSegments', model, 'a SegmentModel');
    const { across, seed = 0, ranks = null } = options;
    requireSeed(seed);
    requireRanks('ranks', ranks);
    this.#model = model;
    this.#across = across === 'exact' ? exactGradients() : requireAcross(across);
    this.#seed = seed;
    this.#ranks = ranks;
    this.#learner = learnerOf(model, this.#across, ranks?.rank ?? 0);
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
   * Adds the gradient of the loss of some segments to the parameters' gradients. Over ranks the loss is that of the rows of all,
   * and so are its gradient and the result.
   *
   * @throws GradCacheError before anything runs: `INPUT` for an empty segment, segments in the wrong order, or a step without
   * targets; `SHAPE` for segments of other rows than the state. Also `NON_FINITE`, `ABORTED`, `OUT_OF_MEMORY`, and whatever
   * the model throws; over ranks `DISTRIBUTED` where another one ended, and the errors of others with their code. A step that
   * fails leaves gradients, state and synthesiser as they were.
   */
  async step(
    segments: Segment | readonly Segment[],
    options: SegmentStepOptions = {},
  ): Promise<SegmentStepResult> {
    return this.#exclusive(async () => {
      let begun = false;
      try {
        const parameters = new ParameterSet(this.parameters());
        const { size } = new SharedGradients(parameters.list);
        return await parameters.whileStepping(async () => {
          begun = true;
          const asked = await agreeOnStep(this.#ranks, this.#stream, segments, options, size);
          return this.#step(parameters, asked);
        });
      } catch (error) {
        if (begun) throw error;
        return await refuseTogether(this.#ranks, BEGIN, error);
      }
    });
  }

  async #step(parameters: ParameterSet, asked: AgreedStep): Promise<SegmentStepResult> {
    const ranks = this.#ranks;
    const learner = this.#learner;
    const learned = learner?.synthesiser.parameters() ?? [];
    const gradients = ranks && new SharedGradients([...parameters.list, ...learned]);
    const made: { before?: GradientSnapshot; began?: Stream; run?: Run } = {};
    try {
      const { result, all } = await toldByEach(
        ranks,
        'reading segments',
        async () => {
          const { segments } = asked;
          const began = (made.began = this.#stream ?? newStream(this.#model, segments[0]!.rows));
          const walk = this.#walkOver(asked, began);
          made.before = await parameters.snapshot();
          if (ranks !== null) gradients?.countOnce(ranks);
          const own = (made.run = await this.#run(walk, began.carried));
          const error = (await own.learning?.loss()) ?? 0;
          return { numbers: [walk.loss, walk.tokens, error, ...(gradients?.prepare() ?? [])], own, began };
        },
        ({ numbers }) => numbers,
      );
      if (ranks !== null)
        await gradients!.reduce(
          ranks,
          all.map((each) => each.slice(COUNTS)),
        );
      const { walked, gradients: kind, learning } = result.own;
      await onEach(ranks, 'updating the synthesiser', () => learning && learner!.update(learning));
      this.#goOn(asked.segments, result.began, walked.after);
      const [loss, tokens, error] = [0, 1, 2].map((place) =>
        all.reduce((sum, each) => sum + each[place]!, 0),
      );
      return {
        loss: tokens! > 0 ? loss! / tokens! : 0,
        tokens: tokens!,
        retained: walked.retained,
        gradients: kind,
        synthesiser: learning && { loss: error! },
      };
    } catch (error) {
      const { before, began, run } = made;
      if (run !== undefined) disposeCarried(run.walked.after);
      run?.learning?.dispose();
      before?.restore();
      if (this.#stream === null && began !== undefined) disposeCarried(began.carried);
      await learner?.forget();
      throw error;
    } finally {
      made.before?.dispose();
      gradients?.dispose();
    }
  }

  #walkOver({ segments, weight, seed, signal, goingOn }: AgreedStep, { anew }: Stream): Walk {
    const { rank } = this.#ranks ?? { rank: 0 };
    const ofStep = seed ?? drawSeed('step', this.#seed, this.#steps);
    const own = rank === 0 ? ofStep : drawSeed('rank', ofStep, rank);
    return new Walk({
      model: this.#model,
      segments,
      seeds: segments.map((_, index) => drawSeed('segment', own, index)),
      weight,
      anew,
      goingOn,
      alone: this.#ranks === null,
      signal,
    });
  }

  /** The next step begins where this one ended. */
  #goOn(segments: readonly Segment[], began: Stream, after: Carried): void {
    disposeCarried(began.carried);
    this.#stream = {
      rows: began.rows,
      carried: after,
      anew: new Set(segments.at(-1)!.ends),
      position: segments.reduce((sum, segment) => sum + lengthOf(segment), began.position),
    };
    this.#steps++;
  }

  async #run(walk: Walk, first: Carried): Promise<Run> {
    const across = this.#across;
    if (across === 'none')
      return { walked: await walkForward(walk, first), gradients: 'none', learning: null };
    if (across.kind === 'exact')
      return { walked: await walkExactly(walk, first, across.retain), gradients: 'exact', learning: null };
    const synthetic = across.kind === 'synthetic' || isSynthetic(across, this.#steps);
    const gradients = synthetic ? 'synthetic' : across.real;
    const learner = this.#learner!;
    const learning = learner.learn(walk, synthetic ? learner.settings.factor : 0);
    try {
      const walked =
        gradients === 'exact'
          ? await walkExactly(walk, first, 'last', async (index, before, gradient, after) => {
              await learning.begin(index, before);
              await learning.seed(index, after);
              await learning.end(index, gradient);
            })
          : await walkForward(walk, first, learning);
      return { walked, gradients, learning };
    } catch (error) {
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
   * Over ranks all call it, and each gets it for the rows of all.
   *
   * @throws GradCacheError `INPUT` while a step runs; `DISTRIBUTED`
   */
  async state(): Promise<Map<string, StoredTensor>> {
    return this.#exclusive(async () => {
      const stored = new Map<string, StoredTensor>();
      const [stream, ranks] = [this.#stream, this.#ranks];
      const rows = stream === null ? 0 : await rowsOfAll(ranks, stream);
      stored.set('counts', storedNumbers([this.#steps, rows, stream?.position ?? 0]));
      if (stream !== null)
        for (const [name, tensor] of await storeStream(stream, ranks, rows)) stored.set(name, tensor);
      for (const [name, tensor] of (await this.#learner?.state(ranks, {
        own: stream?.rows ?? 0,
        all: rows,
      })) ?? [])
        stored.set(`synthesiser.${name}`, tensor);
      return stored;
    });
  }

  /**
   * Restores what {@link state} returned: all of it or none. Over ranks, however many, each takes the part of its rows.
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
    const ranks = this.#ranks;
    if (ranks !== null && rows! > 0 && rows! < ranks.size)
      throw new GradCacheError('CHECKPOINT', `the state is of ${rows} rows, too few for ${ranks.size} ranks`);
    const stream =
      rows! > 0 ? restoreStream(this.#model, stored, { rows: rows!, position: position!, ranks }) : null;
    try {
      this.#learner?.loadState(synthesiser, rows!, rowsOfRank(ranks, rows!));
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

  /** Frees it at the end of a `using` block. */
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
function learnerOf(
  model: SegmentModel,
  across: Exclude<Across, 'exact'>,
  rank: number,
): SynthesiserLearner | null {
  if (across === 'none' || across.kind === 'exact') return null;
  const initial = model.initialState(1);
  try {
    if (initial.state.length === 0)
      throw new GradCacheError(
        'INPUT',
        'the model hands on no state, so no gradient of one can be predicted',
      );
    return new SynthesiserLearner(
      across.kind === 'synthetic' ? across : across.synthetic,
      initial.state,
      rank,
    );
  } finally {
    disposeCarried(initial);
  }
}
