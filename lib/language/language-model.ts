import { inspect } from 'node:util';
import { guarded, guardedAsync, native } from '../addon/native.js';
import type { LanguageModelHandle, NativeParameter, NativeSegment } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { inFolder } from '../model-folder/in-folder.js';
import { throwIfAborted } from '../options/abort.js';
import { checkKnown } from '../options/known-options.js';
import { requireBoolean, requireCount, requireOneOf, requireString } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { copyWeights, weightFaults } from '../safetensors/match-weights.js';
import { toStored } from '../safetensors/stored-tensor.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { NativeWeights } from '../tensor/native-weights.js';
import { call } from '../tensor/operators.js';
import { orDispose, untracked } from '../tensor/scope.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { disposeCarried, requireCarried } from './carried.js';
import { checkGeneration, numberFor, type GenerateOptions } from './generation.js';
import { readLanguageModelFolder, writeLanguageModelFolder } from './language-model-folder.js';
import {
  nativeSettings,
  readLanguageSettings,
  type LanguageModelSettings,
  type NewLanguageModel,
} from './language-settings.js';
import { NativePass, tensorsOf, type LanguagePass } from './native-pass.js';
import type { Carried, Segment, SegmentModel, SegmentOptions } from './segment-model.js';
import { lengthOf, requireSegment, targetsIn } from './segments.js';

/** Only this module has it: TypeScript's `private` does not stop JavaScript from calling the constructor. */
const OWN = Symbol('LanguageModel');

/** A prompt is read in pieces of so many tokens. */
const PIECE = 512;

/** How a language model computes. */
export interface LanguageModelOptions {
  /** `'cpu'` (default), `'cuda'` or `'cuda:N'`. */
  readonly device?: string;
  /** Element type of the computation. Weights, gradients and state are float32 (float64 for float64). Default: float32. */
  readonly precision?: 'float32' | 'float64' | 'bfloat16';
}

/** Log-likelihoods of a segment's targets. */
export interface LogLikelihoods {
  /** In nats, [rows, length]; 0 where there is no target. */
  readonly values: Float32Array | Float64Array;
  /** What the next segment starts from. The caller disposes it. */
  readonly after: Carried;
}

/**
 * A recurrent language model: word vectors, layers of SRU++, SRU, QRNN, LSTM or GRU, and a softmax over the vocabulary, which
 * may be in clusters (adaptive input and softmax). It reads texts in segments and hands its state from one to the next;
 * {@link AcrossSegments} trains it.
 *
 * @example
 * ```ts
 * const model = LanguageModel.create({ vocabulary: 256, cell: 'sru', layers: 2, width: 128 }, { seed: 1 });
 * const drawn = await model.generate(Int32Array.from(Buffer.from('ROMEO:')), { tokens: 100, temperature: 0.8 });
 * console.log(Buffer.from(drawn).toString());
 * ```
 */
export class LanguageModel implements SegmentModel {
  /** Where it lives: `'cpu'` or `'cuda:N'`. */
  readonly device: string;
  /** The type that it computes in. */
  readonly precision: 'float32' | 'float64' | 'bfloat16';
  /** What it is made of, with all defaults. */
  readonly settings: LanguageModelSettings;

  readonly #handle: LanguageModelHandle;
  readonly #weights: NativeWeights;

  private constructor(own: symbol, settings: LanguageModelSettings, options: LanguageModelOptions) {
    if (own !== OWN)
      throw new GradCacheError(
        'INPUT',
        'LanguageModel.create() and LanguageModel.load() make a language model, not new',
      );
    const { device = 'cpu', precision = 'float32' } = options;
    this.settings = settings;
    this.#handle = guarded(
      () => new (native().LanguageModelHandle)(nativeSettings(settings), precision, device),
    );
    this.#weights = new NativeWeights(this.#handle);
    this.device = this.#weights.gradients.device;
    this.precision = precision;
  }

  /**
   * Makes a model with random weights, drawn as published: word vectors and softmax uniform with a variance of 1 / columns,
   * layers as their authors do.
   *
   * @param options.seed of the weights; default: 0
   * @throws GradCacheError `INPUT` for settings that are wrong or do not fit together, `DEVICE`, `CUDA_UNAVAILABLE`,
   * `OUT_OF_MEMORY`
   */
  static create(
    settings: NewLanguageModel,
    options: LanguageModelOptions & { readonly seed?: number } = {},
  ): LanguageModel {
    checkKnown('LanguageModel.create', options, ['device', 'precision', 'seed']);
    const { seed = 0 } = options;
    requireSeed(seed);
    requireComputation(options);
    const model = new LanguageModel(OWN, readLanguageSettings(settings, 'settings'), options);
    return orDispose(model, () => {
      // Every matrix says by itself how it begins.
      model.#weights.fillRandomly({ deviation: 0, seed });
    });
  }

  /**
   * Reads a folder that {@link LanguageModel.save} wrote.
   *
   * @throws GradCacheError `CHECKPOINT` for files that are damaged, missing or of another model; `DEVICE`, `CUDA_UNAVAILABLE`,
   * `INPUT`, `OUT_OF_MEMORY`
   */
  static async load(folder: string, options: LanguageModelOptions = {}): Promise<LanguageModel> {
    checkKnown('LanguageModel.load', options, ['device', 'precision']);
    requireComputation(options);
    const { settings, weights } = await readLanguageModelFolder(folder);
    return inFolder(folder, () => {
      // Before any memory is asked for by what config.json says.
      const shapes = new Map(declared(settings).map(({ name, shape }) => [name, shape]));
      const faults = weightFaults(shapes, weights);
      if (faults !== undefined)
        throw new GradCacheError('CHECKPOINT', `The weights are not those of config.json; ${faults}`);
      const model = new LanguageModel(OWN, settings, options);
      return orDispose(model, () => {
        copyWeights(model.#weights.parameters.list, weights);
      });
    });
  }

  /**
   * How many parameters a model of these settings has, without making it.
   *
   * @throws GradCacheError `INPUT`
   */
  static parameterCount(settings: NewLanguageModel): number {
    return declared(readLanguageSettings(settings, 'settings')).reduce(
      (sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 1),
      0,
    );
  }

  /** The parameters that training changes. */
  parameters(): Parameter[] {
    return [...this.#weights.parameters.list];
  }

  /** The buffer that holds all gradients. */
  gradients(): Tensor[] {
    return [this.#weights.gradients];
  }

  /** Zeros, and no memory. */
  initialState(rows: number): Carried {
    requireCount('rows', rows, 1);
    const slots = guarded(() => this.#handle.slots());
    const wide = this.precision === 'float64' ? 'float64' : 'float32';
    const zeros = (shape: readonly number[], dtype: string, device = this.device) =>
      untracked(() => call('aten::zeros', shape, { dtype, device }));
    const memory = slots
      .filter(({ kind }) => kind === 'memory')
      .map(({ width }) => zeros([rows, 0, width], this.precision));
    return {
      state: slots.filter(({ kind }) => kind === 'state').map(({ width }) => zeros([rows, width], wide)),
      // How many remembered tokens are of a row's own text: those of a document that has ended do not count. On the host,
      // where passes are prepared.
      memory: memory.length === 0 ? [] : [...memory, zeros([rows], 'int32', 'cpu')],
    };
  }

  /**
   * Reads a segment in training, with dropout under the seed.
   *
   * @throws GradCacheError `INPUT` for an empty segment or a token outside the vocabulary; `SHAPE`, `DTYPE` or `DEVICE` for a
   * state that does not fit; `DISPOSED`, `OUT_OF_MEMORY`
   */
  async forwardSegment(segment: Segment, before: Carried, options: SegmentOptions): Promise<LanguagePass> {
    requireSegment('the segment', segment);
    requireCarried(before);
    checkKnown('forwardSegment', options, ['seed', 'graph']);
    const { seed, graph } = options;
    requireSeed(seed);
    requireBoolean('graph', graph);
    const memoryTokens = this.settings.memory ?? lengthOf(segment);
    const given = nativeSegment(segment, before, { memoryTokens, window: 0 });
    const mode = graph ? 'with-graph' : 'without-graph';
    const result = await guardedAsync(() => this.#handle.forward(given, seed, mode, 0));
    result.losses.dispose();
    const after = { state: tensorsOf(result.state), memory: tensorsOf(result.memory) };
    return new NativePass(result.loss, result.penalty, targetsIn(segment), after, result.graph);
  }

  /** Bytes that the graph of a segment takes. */
  graphBytes(segment: Segment): number {
    requireSegment('the segment', segment);
    return guarded(() => this.#handle.graphBytes(segment.rows, lengthOf(segment)));
  }

  /**
   * Log-likelihoods of a segment's targets, without dropout. Attention looks back over a sliding window, across segments.
   *
   * @param options.window to how many tokens before its own a token attends; default: the model's setting
   * @throws GradCacheError as {@link LanguageModel.forwardSegment}
   */
  async logLikelihoods(
    segment: Segment,
    before: Carried,
    options: { readonly window?: number | undefined } = {},
  ): Promise<LogLikelihoods> {
    requireSegment('the segment', segment);
    requireCarried(before);
    checkKnown('logLikelihoods', options, ['window']);
    const { window = this.settings.window } = options;
    requireCount('window', window, 1);
    const given = nativeSegment(segment, before, { memoryTokens: window, window });
    const result = await guardedAsync(() => this.#handle.forward(given, 0, 'inference', 0));
    const [losses] = tensorsOf([result.losses]);
    const after = { state: tensorsOf(result.state), memory: tensorsOf(result.memory) };
    try {
      const values = (await losses!.values()) as Float32Array | Float64Array;
      return { values: values.map((loss) => -loss), after };
    } catch (error) {
      disposeCarried(after);
      throw error;
    } finally {
      losses!.dispose();
    }
  }

  /**
   * Goes on with a text, one token at a time.
   *
   * @param prompt the token ids to start from, at least one
   * @returns the tokens drawn, without the prompt
   * @throws GradCacheError `INPUT`, `ABORTED`, `DISPOSED`, `OUT_OF_MEMORY`
   */
  async generate(prompt: Int32Array, options: GenerateOptions): Promise<Int32Array> {
    checkGeneration(prompt, options);
    const { tokens, temperature = 1, topK = 0, topP = 1, seed = 0, until, onToken, signal } = options;
    const { window = this.settings.window } = options;
    const drawn: number[] = [];
    let here = this.initialState(1);
    /** Reads tokens and draws the one behind them. */
    const read = async (inputs: Int32Array) => {
      throwIfAborted(signal);
      const given = nativeSegment({ inputs, rows: 1 }, here, { memoryTokens: window, window });
      const numbers = Float64Array.of(numberFor(seed, drawn.length));
      const sampling = { temperature, topK, topP };
      const result = await guardedAsync(() => this.#handle.next(given, sampling, numbers, 0));
      disposeCarried(here);
      here = { state: tensorsOf(result.state), memory: tensorsOf(result.memory) };
      return result.tokens[0]!;
    };
    try {
      if (tokens === 0) return new Int32Array();
      let next = 0;
      for (let begin = 0; begin < prompt.length; begin += PIECE)
        next = await read(prompt.slice(begin, begin + PIECE));
      for (;;) {
        drawn.push(next);
        onToken?.(next);
        if (drawn.length === tokens || next === until) return Int32Array.from(drawn);
        next = await read(Int32Array.of(next));
      }
    } finally {
      disposeCarried(here);
    }
  }

  /**
   * Writes a folder with config.json and model.safetensors, whole or not at all.
   *
   * @throws GradCacheError `INPUT` when the folder cannot be written, or while an optimizer updates the weights
   */
  async save(folder: string): Promise<void> {
    await (await this.snapshot()).save(folder);
  }

  /**
   * Copies the model to host memory, from where it can be saved while it is trained further.
   *
   * @throws GradCacheError `INPUT` while an optimizer updates the weights, `OUT_OF_MEMORY`
   */
  async snapshot(): Promise<ModelSnapshot> {
    const { parameters } = this.#weights;
    const weights = await parameters.whileReading(async () => {
      const stored = new Map<string, StoredTensor>();
      for (const { name, tensor } of parameters.list) stored.set(name, await toStored(tensor));
      return stored;
    });
    return { save: (folder) => writeLanguageModelFolder(folder, { settings: this.settings, weights }) };
  }

  /** What `console.log` shows, without the weights. */
  [inspect.custom](): string {
    const { cell, layers, width, vocabulary } = this.settings;
    const parts = { cell, layers, width, vocabulary, device: this.device, precision: this.precision };
    const shown = Object.entries(parts).map(([name, value]) => `${name}: ${value}`);
    return `LanguageModel { ${shown.join(', ')} }`;
  }

  /** Frees weights and gradients. Passes under way keep them until they are done. */
  dispose(): void {
    this.#handle.dispose();
    this.#weights.dispose();
  }

  /** Frees it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function requireComputation({ device = 'cpu', precision = 'float32' }: LanguageModelOptions): void {
  requireString('device', device);
  requireOneOf('precision', precision, ['float32', 'float64', 'bfloat16']);
}

function nativeSegment(
  { inputs, targets, rows }: Pick<Segment, 'inputs' | 'rows'> & Partial<Segment>,
  { state, memory }: Carried,
  attention: Pick<NativeSegment, 'memoryTokens' | 'window'>,
): NativeSegment {
  return {
    inputs,
    ...(targets !== undefined && { targets }),
    rows,
    state: state.map((tensor) => tensor.handle),
    memory: memory.map((tensor) => tensor.handle),
    ...attention,
  };
}

/** The parameters that a model of these settings has; no memory is taken for them. */
function declared(
  settings: LanguageModelSettings,
): { readonly name: string; readonly shape: readonly number[] }[] {
  return guarded(() => {
    const handle = new (native().LanguageModelHandle)(nativeSettings(settings), 'float32', null);
    const shapeOf = ({ name, tensor }: NativeParameter) => {
      const { shape } = tensor;
      tensor.dispose();
      return { name, shape };
    };
    try {
      return handle.parameters().map(shapeOf);
    } finally {
      handle.dispose();
    }
  });
}
