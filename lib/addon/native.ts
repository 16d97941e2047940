/** The types of the addon's exports. Everything above reaches them through {@link native}. */
import { join, resolve } from 'node:path';
import { isMainThread, threadId } from 'node:worker_threads';
import { ERROR_CODES, GradCacheError, type ErrorCode } from '../errors.js';
import { requireString } from '../options/option-values.js';
import { isError } from '../options/realms.js';
import { findCudaKernels } from './runtime/cuda-kernels.js';
import { inspectLibtorch } from './runtime/libtorch-folder.js';
import { loadAddon, type LoadedAddon } from './runtime/load.js';

/** Element types that tensors have, by libtorch's names. */
export type DType =
  'float64' | 'float32' | 'float16' | 'bfloat16' | 'int64' | 'int32' | 'int16' | 'int8' | 'uint8' | 'bool';

/** A handle on one at::Tensor. */
export interface TensorHandle {
  readonly shape: number[];
  readonly dtype: DType;
  readonly device: string;
  readonly elementBytes: number;
  readonly disposed: boolean;
  requiresGrad: boolean;
  get grad(): TensorHandle | null;
  set grad(value: TensorHandle | null);
  item(): number;
  /** Into the whole of a buffer, converted to a type where one is named. Keep the buffer alive meanwhile. */
  copyTo(target: ArrayBufferLike, dtype?: DType): Promise<void>;
  copyToSync(target: ArrayBufferLike, dtype?: DType): void;
  dispose(): void;
}

/** A list of tensors, which operators take in place of an array of handles. */
export interface TensorListHandle {
  readonly length: number;
  select(places: Int32Array): TensorListHandle;
  /** The gradients that there are; `places` says whose they are. */
  gradients(): { places: Int32Array; gradients: TensorListHandle };
  /** The places of those that share device, element type and key; a list for each, in the order of its first. */
  alike(keys?: Int32Array): Int32Array[];
  /** The 2-norm of all elements of tensors that share device and element type. */
  norm(): Promise<number>;
  anyNonZero(): Promise<boolean[]>;
  dispose(): void;
}

/** One operator overload; arguments are converted by its schema. */
export interface OperatorHandle {
  readonly schema: string;
  call(positional: readonly unknown[], named?: object): unknown;
  callAsync(positional: readonly unknown[], named?: object): Promise<unknown>;
}

/** What a text encoder is made from, by name: each architecture of native/encoders says which it needs. */
export interface EncoderSettings {
  readonly [name: string]: number | boolean | string | readonly number[] | readonly EncoderSettings[];
}

/** `inference`: no dropout. `without-graph`, `with-graph`: dropout under the seed, as in the two passes of a step. */
export type ForwardMode = 'inference' | 'without-graph' | 'with-graph';

/** Token ids of a batch of texts in native memory. */
export interface TokenBatchHandle {
  dispose(): void;
}

/**
 * What a parameter holds before training: numbers from -uniform to uniform, or one number. Null: a matrix is normal with
 * the model's deviation, the scale of a norm is 1, all else is 0.
 */
export type Initial = { readonly uniform: number } | { readonly constant: number } | null;

/** A parameter of a native model. */
export interface NativeParameter {
  readonly name: string;
  readonly tensor: TensorHandle;
  readonly decay: boolean;
  readonly trainable: boolean;
  /** Whether it is the matrix of a linear layer, which can have an adapter. */
  readonly linear: boolean;
  /** Whether it is a table whose gradient is a sparse tensor of the rows that tokens had, or none before a backward. */
  readonly byRows: boolean;
  readonly initial: Initial;
}

/** A low-rank adapter of a linear layer: W x + scale * B A drop(x). */
export interface AdapterSettings {
  /** The name of its parameters without `.weight`. */
  readonly layer: string;
  readonly rank: number;
  readonly scale: number;
  readonly dropout: number;
}

/** A text encoder and its parameters. */
export interface EncoderHandle {
  readonly dimension: number;
  parameters(): NativeParameter[];
  gradients(): TensorHandle;
  /** Another number whenever a weight has been written in place. */
  readonly version: number;
  graphBytes(tokens: number, sequences: number): number;
  /**
   * Text k has the ids from offsets[k] to offsets[k + 1]; `numbers` are the texts' in messages, else from 0. `types` has the
   * type of each token; else all have type 0. `counts` has 0 for each token that is no representation, where nothing is pooled.
   * `skipped` tokens at the beginning of each text are not pooled; 0 without it. To the last unattended[k] tokens of text k no
   * token attends.
   */
  batch(
    ids: Int32Array,
    offsets: Int32Array,
    numbers?: Int32Array,
    types?: Int32Array,
    counts?: Uint8Array,
    skipped?: number,
    unattended?: Int32Array,
  ): Promise<TokenBatchHandle>;
  /** Encodes a chunk: some rows of a batch, which have so many tokens. `counts`: representations of each; null: one. */
  forward(
    batch: TokenBatchHandle,
    rows: Int32Array,
    tokens: number,
    seed: number,
    mode: ForwardMode,
    group: number,
  ): Promise<{ readonly representations: TensorHandle; readonly counts: Int32Array | null }>;
  /**
   * The representations, one of each row or of each token that counts, are put into their rows of `target`, which is for all
   * of the batch, and are the result only with a graph.
   */
  forward(
    batch: TokenBatchHandle,
    rows: Int32Array,
    tokens: number,
    seed: number,
    mode: ForwardMode,
    group: number,
    target: TensorHandle,
  ): Promise<TensorHandle | undefined>;
  backward(
    batch: TokenBatchHandle,
    rows: Int32Array,
    tokens: number,
    seed: number,
    gradient: TensorHandle,
    group: number,
  ): Promise<void>;
  /** With the gradients of all representations of the batch; from the representations `graph` where the first pass kept them. */
  backwardRows(
    batch: TokenBatchHandle,
    rows: Int32Array,
    tokens: number,
    seed: number,
    gradients: TensorHandle,
    group: number,
    graph: TensorHandle | null,
    last?: boolean,
  ): Promise<void>;
  /** Before a step whose last `backwardRows` is to be followed. */
  resetProgress(): void;
  /** The element of `gradients()` from which on that backward, whose `last` was true, adds nothing more. */
  finalFrom(): number;
  dispose(): void;
}

/** What a language model is made from, by name (native/language). */
export type LanguageModelHandleSettings = EncoderSettings;

/** A segment for a language model, and what it starts from. */
export interface NativeSegment {
  /** [rows, length], row after row. */
  readonly inputs: Int32Array;
  /** The same; -1: not scored. */
  readonly targets?: Int32Array;
  readonly rows: number;
  readonly state: readonly TensorHandle[];
  /** With a last tensor [rows] that says how many remembered tokens are of the row's own text. */
  readonly memory: readonly TensorHandle[];
  /** The most tokens to hand on as memory. */
  readonly memoryTokens: number;
  /** To how many tokens before its own a token attends; 0: to all. */
  readonly window: number;
}

/** What a segment hands to the next one. */
export interface NativeState {
  readonly state: TensorHandle[];
  readonly memory: TensorHandle[];
}

/** A segment that was read with a graph. */
export interface SegmentGraphHandle {
  backward(
    seed: number,
    stateGradient: readonly TensorHandle[] | null,
    group: number,
  ): Promise<TensorHandle[]>;
  dispose(): void;
}

/** A language model and its parameters. */
export interface LanguageModelHandle {
  parameters(): NativeParameter[];
  gradients(): TensorHandle;
  slots(): { readonly kind: 'state' | 'memory'; readonly width: number }[];
  graphBytes(rows: number, length: number): number;
  forward(
    segment: NativeSegment,
    seed: number,
    mode: ForwardMode,
    group: number,
  ): Promise<
    NativeState & {
      readonly losses: TensorHandle;
      readonly loss: number;
      readonly penalty: number;
      readonly graph: SegmentGraphHandle | null;
    }
  >;
  next(
    segment: NativeSegment,
    sampling: { readonly temperature: number; readonly topK: number; readonly topP: number },
    numbers: Float64Array,
    group: number,
  ): Promise<NativeState & { readonly tokens: Int32Array }>;
  dispose(): void;
}

/** Settings of a native loss by name (native/losses/losses.h); null is not given. */
export interface LossSettings {
  readonly [name: string]: LossSetting | readonly LossSettings[];
}
type LossSetting = number | boolean | string | readonly number[] | Int32Array | Float64Array | null;

/** Where, and as whom, a rank meets the others (native/distributed/group.h). */
export interface GroupSettings {
  readonly host: string;
  readonly port: number;
  readonly rank: number;
  readonly size: number;
  readonly server: boolean;
  readonly prefix: string;
  /** Milliseconds. */
  readonly timeout: number;
  readonly device: string;
  readonly libtorchCuda: string;
}

/** A rank's end of the exchanges between ranks. Each waits for all ranks; `what` says in messages what it is for. */
export interface GroupHandle {
  /** Numbers of every rank, one rank's behind the other's. Each gives as many. */
  meet(own: Float64Array, what: string): Promise<Float64Array>;
  /** `all` has counts[k] rows of each rank k, on entry those of this rank. */
  allGather(all: TensorHandle, counts: readonly number[], what: string): Promise<void>;
  /**
   * Of the same rows, those of this rank become the sum over ranks; the others hold anything.
   *
   * @param begins whether the exchange is only begun: `finish` waits for it
   */
  reduceScatter(all: TensorHandle, counts: readonly number[], what: string, begins?: boolean): Promise<void>;
  /** The sum over ranks, in place. @param begins as above */
  allReduce(tensor: TensorHandle, what: string, begins?: boolean): Promise<void>;
  broadcast(tensor: TensorHandle, root: number, what: string): Promise<void>;
  /** Before exchanges are begun. All ranks call it. */
  openBeside(what: string): Promise<void>;
  /** Waits for all that was begun. Between, ranks may meet, but not exchange tensors. */
  finish(what: string): Promise<void>;
  /** Tells the others why this rank ends, without waiting for them. */
  fail(reason: string): void;
  close(): Promise<void>;
}

/** What the addon exports. */
export interface Native {
  readonly TensorListHandle: new (tensors: readonly TensorHandle[]) => TensorListHandle;
  readonly OperatorHandle: new (name: string, overload: string) => OperatorHandle;
  readonly EncoderHandle: new (
    settings: EncoderSettings,
    precision: string,
    /** Null: an encoder that is declared alone, without memory or passes. */
    device: string | null,
    /** Names of parameters. */
    frozen: readonly string[],
    adapters: readonly AdapterSettings[],
    /** Whether the gradients of tables of words are of rows. Default false. */
    rowGradients?: boolean,
    /** Whether trained weights are in the type that computes; their gradients are not. Default false. */
    narrowWeights?: boolean,
  ) => EncoderHandle;
  readonly LanguageModelHandle: new (
    settings: LanguageModelHandleSettings,
    precision: string,
    /** Null: a model that is declared alone, without memory or passes. */
    device: string | null,
  ) => LanguageModelHandle;
  tensorFromBytes(
    bytes: NodeJS.TypedArray,
    shape: readonly number[],
    dtype: string,
    device: string,
  ): TensorHandle;
  isTensor(value: unknown): value is TensorHandle;
  /** Without a graph: target[rows[k]] = source[k]. */
  putRows(target: TensorHandle, rows: Int32Array, source: TensorHandle): void;
  takeRows(source: TensorHandle, rows: Int32Array): TensorHandle;
  /** Throws where a tensor has gaps between its elements, or one of them twice. */
  requireDense(names: readonly string[], tensors: TensorListHandle): void;
  /** Throws where one of `others`, which are `what`, lies otherwise in memory than its tensor. */
  requireAlike(
    what: string,
    names: readonly string[],
    tensors: TensorListHandle,
    others: TensorListHandle,
    /** Whether float32 may be beside bfloat16. Default false. */
    wider?: boolean,
  ): void;
  /** Writes float32 tensors into bfloat16 ones, rounded up or down by chance. */
  roundStochastically(targets: TensorListHandle, sources: TensorListHandle, seed: number): Promise<void>;
  withGradMode<T>(enabled: boolean, fn: () => T): T;
  withSeed<T>(seed: number, fn: () => T): T;
  backward(
    roots: readonly TensorHandle[],
    seeds: readonly (TensorHandle | null)[],
    group?: number,
  ): Promise<void>;
  leaves(root: TensorHandle, others: readonly TensorHandle[]): TensorHandle[];
  loss(
    name: string,
    representations: readonly TensorHandle[],
    settings: LossSettings,
    /** A rank computes its part of the loss, in a phase that all have the same number for. */
    group?: GroupHandle,
    phase?: number,
    /** Of each rank the rows of each tower, where `representations` are those of this rank's rows alone. */
    rows?: readonly number[],
  ): Promise<{
    loss: number;
    /** Null for a tower that is not trained. */
    gradients: (TensorHandle | null)[];
    /** Of `scale`, with respect to its logarithm, of `bias`, and of what else the loss can learn. */
    slopes: Readonly<Record<string, number>>;
  }>;
  joinGroup(settings: GroupSettings): Promise<GroupHandle>;
  memory(device?: string): { allocated: number; peak: number; reserved: number; available: number };
  resetPeakMemory(device?: string): void;
  emptyCache(device?: string): void;
  synchronize(device?: string): Promise<void>;
  threads(count?: number): number;
  devices(): string[];
  cancel(group: number): void;
  shutdown(): void;
  openCudaKernels(path: string, libtorchCuda: string): void;
}

let loaded: LoadedAddon | undefined;
let requested: string | undefined;

/**
 * Names the libtorch to use, instead of looking for one. Call it before anything else of the package.
 *
 * @param folder folder of a libtorch (holds `lib/libtorch_cpu.so`)
 * @throws GradCacheError `INPUT` when a libtorch is already loaded in this thread
 * @example
 * ```ts
 * useLibtorch('/opt/venv/lib/python3.12/site-packages/torch'); // before anything else of gradcache is used
 * ```
 */
export function useLibtorch(folder: string): void {
  requireString('the folder of useLibtorch', folder);
  // A link, or the folder around it, is the same libtorch.
  if (loaded !== undefined && loaded.libtorch.folder !== inspectLibtorch(folder).libtorch?.folder) {
    throw new GradCacheError(
      'INPUT',
      `useLibtorch('${folder}') comes too late: ${loaded.libtorch.folder} is already loaded in ` +
        (isMainThread ? 'the main thread' : `worker ${threadId}`),
    );
  }
  requested = resolve(folder); // where the program stands now, not where it is when something is loaded
}

/** The libtorch and the addon in use, loading them when that has not happened. */
export function loadedLibtorch(): LoadedAddon {
  if (loaded === undefined) {
    loaded = loadAddon({ libtorch: requested });
    // process.exit() destroys libtorch's globals, which the engines must not be using then.
    const addon = loaded.addon as Native;
    process.once('exit', () => addon.shutdown());
    const { folder, cuda } = loaded.libtorch;
    const kernels = cuda ? findCudaKernels() : null;
    if (kernels !== null) {
      guarded(() => addon.openCudaKernels(kernels, join(folder, 'lib', 'libtorch_cuda.so')));
    }
  }
  return loaded;
}

/** The addon's exports. Loads libtorch at the first call. */
export function native(): Native {
  return loadedLibtorch().addon as Native;
}

/** Runs native code; an error that it throws becomes a {@link GradCacheError} with the addon's code. */
export function guarded<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw typed(error);
  }
}

/** Like {@link guarded}, for a promise. */
export async function guardedAsync<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw typed(error);
  }
}

function typed(error: unknown): unknown {
  if (!isError(error) || error instanceof GradCacheError) return error;
  // Errors of a block that native code runs pass through here too: those of the system have codes of their own.
  const { code } = error as { code?: unknown };
  if (!ERROR_CODES.includes(code as ErrorCode)) return error;
  return new GradCacheError(code as ErrorCode, error.message, { cause: error });
}
