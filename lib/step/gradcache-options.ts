import { requireRanks, type Ranks } from '../distributed/ranks.js';
import { GradCacheError } from '../errors.js';
import {
  requireLoss,
  requireLossOptions,
  withGradients,
  type Loss,
  type LossOptions,
} from '../losses/loss.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireCount,
  requireFunction,
  requireNumber,
  requireSignal,
} from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { requireChunkSize, type ChunkSize } from './chunk-plan.js';
import type { AnyEncoder, Encoder } from './encoder.js';
import { requireReduction, type Reduction } from '../distributed/reduction.js';
import { requireExchange, type Exchange } from './exchange.js';
import type { Retain } from './retention.js';
import type { Curate, Drawn } from './verdict.js';

/** How {@link GradCache} trains. */
export interface GradCacheOptions<Encoders extends readonly AnyEncoder[] = readonly AnyEncoder[]> {
  /** One encoder for each tower; the same object twice ties the towers. */
  readonly encoders: Encoders;
  /** {@link infoNCE}, or any function of the towers' representations that returns a scalar tensor. */
  readonly loss: Loss<Encoders>;
  /**
   * How much is encoded at once, for all towers or for each. Default: `'auto'`.
   *
   * `'auto'` is 256 rows for a {@link ModuleEncoder}. For a {@link TextEncoder} it is 2,048 tokens on the CPU. On a GPU it
   * is 32,768 tokens for the first step; later steps take as many as fill 60 % of the free memory, at most 262,144 (with
   * `retain: 'auto'` it stays 32,768). Dropout masks depend on the chunks: set a size if two runs must agree bit for bit.
   */
  readonly chunk?: ChunkSize | readonly ChunkSize[];
  /**
   * Which chunks keep their graph, and so are encoded once. The result is the same.
   *
   * - `'last'` (default): the last chunk. The second pass needs its graph first, so it costs memory only during the loss.
   * - `'auto'`: as many of the last chunks as the device has room for, at least one.
   * - `{ bytes }`: as many of the last chunks as fit into that many bytes; 0: none. A chunk of unknown size, such as a
   *   {@link ModuleEncoder}'s, does not fit.
   */
  readonly retain?: Retain;
  /** Number of steps that make one update; gradients are divided by it. Default: 1. */
  readonly accumulate?: number;
  /** Seed of the dropout masks. Default: 0. */
  readonly seed?: number;
  /**
   * Judges each batch by its representations, before the loss is taken: it accepts the batch, has another one drawn (the
   * option `redraw` of the step), or keeps some of its rows. Rows that are left out are as if they were not in the batch: the
   * loss does not see them, and they have no gradient. Default: every batch is accepted.
   */
  readonly curate?: Curate;
  /**
   * The ranks that take each step together, from {@link Ranks.join}. Each gives the step rows of its own; the loss is over the
   * rows of all, and the gradients of its mean are the same on all ranks. Keyword arguments of the loss are those of a rank's
   * own rows: `targets` count its own candidates. Every rank makes the same steps. Not with `curate`. Default: none.
   */
  readonly ranks?: Ranks | null | undefined;
  /** How ranks add up gradients, the same on all. */
  readonly reduction?: Reduction;
  /**
   * How ranks see each other's representations, the same on all.
   *
   * - `'gather'` (default): every rank holds those of all, and their gradients: 2 x N x dimension numbers for each tower.
   * - `'ring'`: every rank holds its own, and those of the others go round in blocks with their gradients: over W ranks at most
   *   4 x N / W x dimension numbers for each tower. The gradients are the same. Losses of scores between rows take it; a function
   *   of your own does not.
   */
  readonly exchange?: Exchange;
}

/** Options of one {@link GradCache.step}. */
export interface StepOptions {
  /** Stops the step after the current chunk and restores the gradients. */
  readonly signal?: AbortSignal | undefined;
  /** Told of each chunk; must return quickly. */
  readonly onProgress?: ((progress: StepProgress) => void) | undefined;
  /** Keyword arguments of the loss. */
  readonly loss?: LossOptions;
  /** Gives another batch each time the option `curate` of {@link GradCache} refuses one. */
  readonly redraw?: (() => Drawn | PromiseLike<Drawn>) | undefined;
  /** Replaces the seed that the step derives from the option `seed` and the step's number. */
  readonly seed?: number;
}

/** Options of one {@link GradCache.lossOf}. */
export interface LossOfOptions {
  /** Ends it after the current chunk. */
  readonly signal?: AbortSignal | undefined;
  /** Keyword arguments of the loss. */
  readonly loss?: LossOptions;
}

/** Where a step is. */
export interface StepProgress {
  /** The first pass, the loss, or the second pass. */
  readonly phase: 'forward' | 'loss' | 'backward';
  /** Chunks of the phase that are done, and chunks in all. */
  readonly chunk: number;
  /** Chunks of the phase in all. */
  readonly chunks: number;
  /** Rows and tokens of the phase that are done. */
  readonly rows: number;
  /** Tokens of the phase that are done. */
  readonly tokens: number;
}

/** What a step did. Over {@link Ranks}: loss, pairs, sequences, tokens and truncated of all, and the greatest peak of memory. */
export interface StepResult {
  /** The loss of the batch. */
  readonly loss: number;
  /** Rows of the first tower that the loss saw. */
  readonly pairs: number;
  /** Rows of the first tower that `curate` left out. */
  readonly leftOut: number;
  /** Batches that `curate` refused before this one. */
  readonly redrawn: number;
  /** Rows and tokens of all towers; a row of a {@link ModuleEncoder} counts as one token. */
  readonly sequences: number;
  /** Tokens of all towers. */
  readonly tokens: number;
  /** Texts that were cut to the greatest length. */
  readonly truncated: number;
  /** Chunks of all towers. */
  readonly chunks: number;
  /** Chunks whose graph was kept, so that they were encoded once. */
  readonly retained: number;
  /** How often the step started again, with half the chunk, because memory ran out. */
  readonly retries: number;
  /** How long each phase took. */
  readonly milliseconds: {
    /** The first pass, without graphs. */
    readonly forward: number;
    /** The loss and its gradients. */
    readonly loss: number;
    /** The second pass, with the backward passes. */
    readonly backward: number;
    /** The whole step. */
    readonly total: number;
  };
  /** Peak memory during the step, in bytes: the device's, or on the CPU the process's resident size. */
  readonly peakMemory: number;
}

/** The methods of an encoder besides `forwardChunk`. */
const METHODS = ['backwardChunk', 'lengths', 'truncated', 'graphBytes', 'parameters'] as const;

/**
 * Rejects wrong options before anything is computed, for callers in plain JavaScript.
 *
 * @throws GradCacheError `INPUT`
 */
export function checkOptions<Encoders extends readonly AnyEncoder[]>(
  options: GradCacheOptions<Encoders>,
): void {
  checkKnown('GradCache', options, [
    'encoders',
    'loss',
    'chunk',
    'retain',
    'accumulate',
    'seed',
    'curate',
    'ranks',
    'reduction',
    'exchange',
  ]);
  const { encoders, loss, chunk = 'auto', retain = 'last', accumulate = 1, seed } = options;
  if (!Array.isArray(encoders) || encoders.length === 0)
    throw refused('encoders', encoders, 'a list with one for each tower');
  const foreign = (encoders as readonly (Partial<Encoder> | null)[]).findIndex(
    (encoder) => typeof encoder?.forwardChunk !== 'function',
  );
  if (foreign >= 0) {
    throw new GradCacheError(
      'INPUT',
      `encoders[${foreign}] is no encoder; wrap a class with forward() and parameters() in ModuleEncoder`,
    );
  }
  for (const [tower, encoder] of encoders.entries()) {
    const present = encoder.pack === undefined ? METHODS : ([...METHODS, 'pack'] as const);
    for (const method of present)
      requireFunction(`${method} of encoders[${tower}]`, Reflect.get(encoder, method));
  }
  requireLoss(loss);
  if (Array.isArray(chunk) && chunk.length !== encoders.length) {
    throw new GradCacheError('INPUT', `${chunk.length} chunk sizes for ${encoders.length} towers`);
  }
  const chunks: readonly ChunkSize[] = Array.isArray(chunk) ? chunk : [chunk];
  for (const size of chunks) if (size !== 'auto') requireChunkSize(size);
  if (retain !== 'auto' && retain !== 'last') {
    if (typeof retain !== 'object' || retain === null)
      throw refused('retain', retain, "'last', 'auto' or { bytes }");
    checkKnown('retain', retain, ['bytes']);
    requireNumber('retain.bytes', retain.bytes, { from: 0, infinite: true });
  }
  requireCount('accumulate', accumulate, 1);
  if (seed !== undefined) requireSeed(seed);
  if (options.curate !== undefined) requireFunction('curate', options.curate);
  requireRanks('ranks', options.ranks);
  if (options.reduction !== undefined) requireReduction('reduction', options.reduction);
  if (options.exchange !== undefined) requireExchange('exchange', options.exchange, withGradients(loss));
  if (options.curate !== undefined && (options.ranks ?? null) !== null)
    throw new GradCacheError(
      'INPUT',
      'curate judges the rows of one rank alone: it is not taken beside ranks',
    );
}

/** Checks the arguments of `lossOf`. @throws GradCacheError `INPUT` */
export function checkLossOf(inputs: readonly unknown[], options: LossOfOptions): void {
  if (!Array.isArray(inputs)) throw refused('inputs', inputs, 'a list with one batch for each tower');
  checkKnown('lossOf', options, ['signal', 'loss']);
  const { signal, loss = {} } = options;
  requireSignal('signal', signal);
  requireLossOptions('loss', loss);
}

/** Checks the arguments of a step, as {@link checkOptions} does. @throws GradCacheError `INPUT` */
export function checkStep(inputs: readonly unknown[], options: StepOptions): void {
  if (!Array.isArray(inputs)) throw refused('inputs', inputs, 'a list with one batch for each tower');
  checkKnown('step', options, ['signal', 'onProgress', 'loss', 'seed', 'redraw']);
  const { signal, onProgress, seed, loss = {} } = options;
  requireSignal('signal', signal);
  if (options.redraw !== undefined) requireFunction('redraw', options.redraw);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  requireLossOptions('loss', loss);
  if (seed !== undefined) requireSeed(seed);
}
