import { inspect } from 'node:util';
import { initializerRange } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import { GradCacheError } from '../errors.js';
import { folderOfModel } from '../hub/pull.js';
import {
  readCrossEncoderFolder,
  writeCrossEncoderFolder,
  type CrossEncoderFolder,
  type ScoreActivation,
} from '../model-folder/cross-encoder-folder.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { inFolder } from '../model-folder/in-folder.js';
import { requireLength, requireTextRoom } from '../model-folder/length-limit.js';
import { newModelFolder } from '../model-folder/new-model-folder.js';
import type { Pushed, PushOptions } from '../model-folder/push-folder.js';
import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireString, requireTextPairs, requireTexts } from '../options/option-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import type { RowPasses } from '../step/encoder.js';
import { noGrad } from '../tensor/autograd.js';
import { orDispose } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { withoutLast } from '../tokenizer/token-batch.js';
import { joinedPieces, type WindowPiece } from '../tokenizer/token-windows.js';
import type { TextPair, TokenBatch, Tokenizer, WindowBatch } from '../tokenizer/tokenizer.js';
import {
  checkCreate,
  checkLoad,
  checkPredict,
  checkRank,
  type CrossEncoderOptions,
  type NewCrossEncoderOptions,
  type PredictActivation,
  type PredictOptions,
  type RankOptions,
} from './cross-encoder-options.js';
import { inferInto } from './inference.js';
import { keepBest, overlapOf } from './long-texts.js';
import { byParameter, matchWeights, requireSizes, stored } from './model-state.js';
import {
  freshLayers,
  headLayers,
  layerOf,
  requireHead,
  settingsOf,
  storedName,
  without,
} from './pair-head.js';
import { Prompts, type Prompt } from './prompts.js';
import { pushModel } from './push-model.js';
import type { TextEncoderOptions } from './text-encoder-options.js';
import { emptyRows, NativeTokenEncoder, TokenEncoder } from './token-encoder.js';
import { PIECE_CHUNKS } from './text-inference.js';
import { trainedWeights } from './trained-weights.js';
import { overPieces } from './windows.js';

/** A document as {@link CrossEncoder.rank} ranks it. */
export interface RankedDocument {
  /** Its place in the list that was given. */
  readonly index: number;
  /** What the model gives it. */
  readonly score: number;
}

/** Only this module has it: TypeScript's `private` does not stop JavaScript from calling the constructor. */
const OWN = Symbol('CrossEncoder');

/**
 * A model that reads two texts together and gives them a score, or one number for each of several labels: a reranker, or
 * `CrossEncoder` of sentence-transformers. It is any text encoder but T5, SRU and word vectors, with the head that transformers
 * puts on it for sequence classification: on the first token, the mean or, of a decoder, the last token that is not padding.
 *
 * In a step its representations are the logits, [pairs, labels]. There is one tower:
 *
 * ```ts
 * const model = await CrossEncoder.load('reranker');
 * const gradcache = new GradCache({ encoders: [model], loss: crossEncoderRanking() });
 * const { pairs, lists } = rankingPairs([queries, answers], { negatives: 4, seed });
 * await gradcache.step([model.tokenize(pairs)], { loss: { lists } });
 * ```
 */
export class CrossEncoder extends TokenEncoder {
  /** How many numbers a pair gets. */
  readonly labels: number;
  /** What {@link CrossEncoder.predict} applies to logits; the folder names it. */
  readonly activation: ScoreActivation;
  /** The passes that put logits into their places natively; for {@link GradCache}. */
  readonly rowPasses: RowPasses<TokenBatch>;

  readonly #native: NativeTokenEncoder;
  readonly #folder: CrossEncoderFolder;
  readonly #prompts: Prompts;
  /** Whether the model tells the two texts of a pair apart by the types of their tokens. */
  readonly #typed: boolean;
  /** The padding token of a model that takes the last token before it; -1: none is left out. */
  readonly #padding: number;

  private constructor(own: symbol, folder: CrossEncoderFolder, options: TextEncoderOptions) {
    if (own !== OWN)
      throw new GradCacheError(
        'INPUT',
        'CrossEncoder.load() and CrossEncoder.create() make an encoder, not new',
      );
    const { precision = 'float32', maxLength = folder.maxLength } = options;
    requireLength(maxLength, folder.modelType, folder.config);
    requireTextRoom(options.maxLength, folder.tokenizer.specialTokensPerPair, 'pair');
    const settings = settingsOf(folder, options);
    const architecture = architectureOf(folder.modelType);
    const trained = trainedWeights(settings, options.frozen ?? [], {
      architecture,
      adapter: null,
      moduleName: (parameter) => storedName(folder.modelType, parameter),
    });
    const native = new NativeTokenEncoder(settings, options, trained);
    const prompts = new Prompts(folder.prompts, folder.defaultPrompt);
    super({ native, precision, maxLength, tokenizer: folder.tokenizer, prompts });
    const { passes } = native;
    this.#native = native;
    this.#prompts = prompts;
    this.#folder = folder;
    this.rowPasses = {
      empty: (rows) => emptyRows(this, rows, folder.labels),
      forward: (chunk, forward, target) => passes.forwardRows(chunk, forward, target),
      backward: (...args) => passes.backwardRows(...args),
      progress: passes.progress,
    };
    this.labels = folder.labels;
    this.activation = folder.activation;
    this.#padding = settings['pooling'] === 'last' ? architecture.paddingToken(folder.config) : -1;
    this.#typed = typeof settings['types'] === 'number' && settings['types'] > 0;
  }

  /**
   * Reads a folder that sentence-transformers' CrossEncoder or transformers' AutoModelForSequenceClassification saved; with
   * `newHead`, any folder of a text encoder. `hf:owner/name` is one of the Hugging Face hub, as for {@link TextEncoder.load}.
   *
   * @throws GradCacheError `CHECKPOINT` for files that are damaged, missing or not supported, and for missing or
   * unexpected parameters; `DEVICE`, `CUDA_UNAVAILABLE`, `INPUT`, `OUT_OF_MEMORY`; `HUB` for a model that cannot be fetched
   */
  static async load(name: string, options: CrossEncoderOptions = {}): Promise<CrossEncoder> {
    requireString('the model folder', name);
    checkLoad(options);
    const folder = await folderOfModel('the model', name);
    const { newHead, ...rest } = options;
    const read = await readCrossEncoderFolder(folder, { anyModel: newHead !== undefined });
    const labels = newHead === undefined ? read.labels : (newHead.labels ?? 1);
    const activation = newHead === undefined ? read.activation : labels === 1 ? 'sigmoid' : 'identity';
    const model: CrossEncoderFolder = { ...read, labels, activation };
    const fresh = inFolder(folder, () => (newHead === undefined ? new Set<string>() : freshLayers(model)));
    requireHead(folder, model, fresh);
    return inFolder(folder, () => {
      requireSizes(model);
      const encoder = new CrossEncoder(OWN, model, rest);
      return orDispose(encoder, () => {
        const weights = encoder.#native.weights;
        if (newHead !== undefined)
          weights.fillRandomly({ deviation: initializerRange(model.config), seed: newHead.seed ?? 0 });
        const read = weights.parameters.list.filter(({ name }) => !fresh.has(layerOf(name)));
        matchWeights(without(model, fresh), read);
      });
    });
  }

  /**
   * Makes a cross-encoder with random weights: normal with the configuration's `initializer_range` (0.02), biases 0, norms 1.
   *
   * @param config the content of a Hugging Face config.json: `model_type`, `vocab_size`, `hidden_size`, …
   * @throws GradCacheError `CHECKPOINT` for a configuration that is not supported, `INPUT`
   */
  static create(
    config: Readonly<Record<string, unknown>>,
    tokenizer: Tokenizer,
    options: NewCrossEncoderOptions = {},
  ): CrossEncoder {
    checkCreate(options);
    const { labels = 1, seed = 0, ...rest } = options;
    const head = { pooling: 'cls', modules: [], maxLength: options.maxLength } as const;
    const folder = newModelFolder(config, tokenizer, head);
    const activation = labels === 1 ? 'sigmoid' : 'identity';
    const deviation = initializerRange(config);
    const encoder = new CrossEncoder(OWN, { ...folder, labels, activation }, rest);
    return orDispose(encoder, () => {
      encoder.#native.weights.fillRandomly({ deviation, seed });
    });
  }

  /** {@link CrossEncoder.labels}, as steps call it. */
  get trainedDimension(): number {
    return this.labels;
  }

  /**
   * Token ids of pairs of texts, off the event loop. A pair that is too long loses tokens of its longer text first.
   *
   * @param options.prompt put in front of the first text: the name of one of {@link CrossEncoder.prompts}, `''` for none, or
   * the words themselves as `{ prefix: 'query: ' }`; default: {@link CrossEncoder.defaultPrompt}
   * @param options.maxLength the most tokens of a pair, if fewer than {@link CrossEncoder.maxLength}
   * @throws GradCacheError `INPUT` for what is no pair of strings, or an unknown prompt
   */
  async tokenize(
    pairs: readonly TextPair[],
    options: { prompt?: Prompt | undefined; maxLength?: number | undefined } = {},
  ): Promise<TokenBatch> {
    checkKnown('tokenize', options, ['prompt', 'maxLength']);
    const { maxLength = this.maxLength } = options;
    requireNumber('maxLength', maxLength, { from: 1, to: this.maxLength, whole: true });
    const prefix = this.#prompts.prefixOf(options.prompt);
    return this.#read(await this.tokenizer.encodePairs(pairs, { maxLength, prefix }));
  }

  /** A batch as the model reads it. */
  #read({ types, ...batch }: TokenBatch): TokenBatch {
    if (this.#padding >= 0) return withoutLast(batch, this.#padding);
    return this.#typed && types !== undefined ? { ...batch, types } : batch;
  }

  /**
   * Token ids of pairs of which one that is too long has several rows: the second text in windows, each beside the first text. The
   * first text is cut as {@link CrossEncoder.tokenize} cuts it: to half of a row, where both texts are longer than that; it counts
   * as `truncated`. The score of a pair is the greatest of its windows.
   *
   * @param options.prompt as for {@link CrossEncoder.tokenize}
   * @param options.overlap tokens that a window repeats of the one before it; default 0
   * @throws GradCacheError `INPUT` also for a model with several labels, and for an overlap of half a row or more
   */
  async tokenizeWindows(
    pairs: readonly TextPair[],
    options: { prompt?: Prompt | undefined; overlap?: number | undefined } = {},
  ): Promise<WindowBatch> {
    checkKnown('tokenizeWindows', options, ['prompt', 'overlap']);
    const pieces: WindowPiece[] = [];
    for await (const piece of this.windowPieces(pairs, options, Infinity)) pieces.push(piece);
    return joinedPieces(pieces, pairs.length);
  }

  /**
   * The windows of {@link CrossEncoder.tokenizeWindows} piece by piece, as they are taken: memory does not grow with their number.
   *
   * @param most the least tokens of a piece that is not the last
   * @throws GradCacheError `INPUT` as there
   */
  async *windowPieces(
    pairs: readonly TextPair[],
    options: { prompt?: Prompt | undefined; overlap?: number | undefined },
    most: number,
  ): AsyncGenerator<WindowPiece, void, undefined> {
    checkKnown('windowPieces', options, ['prompt', 'overlap']);
    const { prompt, overlap = 0 } = options;
    requireNumber('overlap', overlap, { from: 0, whole: true });
    if (this.labels !== 1)
      throw new GradCacheError(
        'INPUT',
        `windows is given, and the model has ${this.labels} labels: the greatest score of windows means something with one ` +
          'label alone. Leave windows out, and long pairs are cut.',
      );
    requireTextPairs('pairs', pairs);
    const prefix = this.#prompts.prefixOf(prompt);
    const { maxLength } = this;
    const pieces = this.tokenizer.windowPieces(pairs, { maxLength, prefix, overlap }, most);
    for await (const { batch, texts } of pieces) yield { batch: this.#read(batch), texts };
  }

  /**
   * The scores of pairs, in their order: for each pair as many numbers as there are {@link CrossEncoder.labels}.
   *
   * @throws GradCacheError `INPUT`, `ABORTED`, `OUT_OF_MEMORY`
   */
  async predict(
    pairs: readonly TextPair[],
    options: PredictOptions = {},
  ): Promise<Float32Array | Float64Array> {
    checkPredict(options);
    return this.#predict(pairs, options);
  }

  async #predict(pairs: readonly TextPair[], options: PredictOptions): Promise<Float32Array | Float64Array> {
    const { prompt, tokensPerChunk = this.automaticChunk.tokens, signal, activation } = options;
    const overlap = overlapOf(options.windows);
    const score = async (batch: TokenBatch): Promise<Float32Array | Float64Array> => {
      const logits = emptyRows(this, batch.offsets.length - 1, this.labels);
      let scores: Tensor | undefined;
      try {
        await inferInto(logits, this.#native.passes, batch, { tokens: tokensPerChunk, signal });
        scores = noGrad(() => activated(logits, activation ?? this.activation));
        return (await scores.values()) as Float32Array | Float64Array;
      } finally {
        scores?.dispose();
        logits.dispose();
      }
    };
    if (overlap === undefined) return score(await this.tokenize(pairs, { prompt }));
    const best = new Float64Array(pairs.length).fill(-Infinity);
    const pieces = this.windowPieces(pairs, { prompt, overlap }, tokensPerChunk * PIECE_CHUNKS);
    await overPieces(pieces, async ({ batch, texts }) => keepBest(best, await score(batch), texts));
    return this.precision === 'float64' ? best : Float32Array.from(best);
  }

  /**
   * Ranks documents for a query, the best first; documents with the same score stay in their order.
   *
   * @throws GradCacheError `INPUT` (also for a model with several labels), `ABORTED`, `OUT_OF_MEMORY`
   */
  async rank(
    query: string,
    documents: readonly string[],
    options: RankOptions = {},
  ): Promise<RankedDocument[]> {
    requireString('the query', query);
    requireTexts('documents', documents);
    checkRank(options);
    if (this.labels !== 1)
      throw new GradCacheError(
        'INPUT',
        `the model has ${this.labels} labels: rank needs a model with one. See predict.`,
      );
    const { top = documents.length, ...rest } = options;
    const scores = await this.#predict(
      documents.map((document) => [query, document]),
      rest,
    );
    return Array.from(scores, (score, index) => ({ index, score }))
      .sort((a, b) => b.score - a.score)
      .slice(0, top);
  }

  /**
   * Writes a folder that sentence-transformers' CrossEncoder and transformers open. As {@link TextEncoder.save}, it replaces
   * the model in the folder and leaves other files.
   *
   * @param options.maxLength the limit that the folder states; default: that of the folder that was read
   * @throws GradCacheError `INPUT` when the folder cannot be written, or while an optimizer updates the weights
   */
  async save(folder: string, options: { maxLength?: number | undefined } = {}): Promise<void> {
    checkKnown('save', options, ['maxLength']);
    await (await this.#snapshot(options)).save(folder);
  }

  /**
   * Copies the model to host memory, from where it can be saved while it is trained further.
   *
   * @throws GradCacheError `INPUT` while an optimizer updates the weights, `OUT_OF_MEMORY`
   */
  async snapshot(): Promise<ModelSnapshot> {
    return this.#snapshot({});
  }

  async #snapshot(options: { maxLength?: number | undefined }): Promise<ModelSnapshot> {
    const { maxLength = this.#folder.maxLength } = options;
    const { modelType, config } = this.#folder;
    requireLength(maxLength, modelType, config);
    const { weights } = this.#native;
    // What is frozen is saved as it was read; the head may be a new one.
    const read = byParameter(without(this.#folder, headLayers(modelType)));
    const tensors = new Map<string, StoredTensor>();
    await weights.parameters.whileReading(async () => {
      for (const { name, tensor } of weights.parameters.list) {
        const original = weights.isFrozen(name) ? read.get(name) : undefined;
        tensors.set(storedName(modelType, name), original ?? (await stored(tensor)));
      }
    });
    const model = { ...this.#folder, tensors, prompts: this.prompts, maxLength };
    return { save: (folder) => writeCrossEncoderFolder(folder, model) };
  }

  /** The length limit that the model's folder states, in tokens. `maxLength` may be more, up to the model's positions. */
  get statedMaxLength(): number {
    return this.#folder.maxLength;
  }

  /** Uploads the model to the Hugging Face hub, as {@link TextEncoder.push}. */
  async push(name: string, options: PushOptions = {}): Promise<Pushed> {
    return pushModel((folder) => this.save(folder), name, options);
  }

  /** What `console.log` shows, without the weights and the tokenizer's files. */
  [inspect.custom](): string {
    const { device, precision, maxLength, labels, tokenizer } = this;
    const { modelType } = this.#folder;
    const shown = Object.entries({ modelType, labels, device, precision, maxLength });
    const parts = shown.map(([name, value]) => `${name}: ${value}`);
    return `CrossEncoder { ${parts.join(', ')}, tokenizer: ${inspect(tokenizer)} }`;
  }
}

function activated(logits: Tensor, activation: PredictActivation): Tensor {
  switch (activation) {
    case 'sigmoid':
      return logits.sigmoid();
    case 'tanh':
      return logits.tanh();
    case 'softmax':
      return logits.softmax(1);
    case 'identity':
      return logits.clone();
  }
}
