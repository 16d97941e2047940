import { inspect } from 'node:util';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber, requireOneOf } from '../options/option-values.js';
import { guarded } from '../addon/native.js';
import { orDispose } from '../tensor/scope.js';
import {
  SIMILARITIES,
  TOKEN_SIMILARITIES,
  type Similarity,
  type TokenSimilarity,
} from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import { initializerRange } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import type { RowPasses } from '../step/encoder.js';
import { requireLength, requireTextRoom } from '../model-folder/length-limit.js';
import { hiddenSizeOf } from '../model-folder/hidden-size.js';
import { folderOfModel } from '../hub/pull.js';
import { inFolder } from '../model-folder/in-folder.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import { readModelFolder, SPLADE, type ModelFolder } from '../model-folder/model-folder.js';
import { NORMALIZE } from '../model-folder/head-modules.js';
import { asPooling, poolingsOf } from '../model-folder/pooling.js';
import { newModelFolder } from '../model-folder/new-model-folder.js';
import type { Pushed, PushOptions } from '../model-folder/push-folder.js';
import { requireBare } from '../model-folder/static-embedding.js';
import { isAdapterWeight } from '../model-folder/target-modules.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { writeModelFolder, writeRoutes } from '../model-folder/write-model-folder.js';
import { newAdapter, settledAdapter } from './lora-options.js';
import { mergedFolder } from './merged-weights.js';
import { matchWeights, nameInFolder, requireSizes, storedWeights } from './model-state.js';
import { emptyProjection, interactionOf, perToken } from './per-token.js';
import { Prompts, type Prompt } from './prompts.js';
import { pushModel } from './push-model.js';
import type { SparseRows } from './sparse-rows.js';
import { countsOf } from './text-chunk.js';
import { textTasksOf, type TextTasks } from './text-tasks.js';
import {
  checkCreateOptions,
  checkLoadOptions,
  type CreateOptions,
  type LoadOptions,
  type TextEncoderOptions,
} from './text-encoder-options.js';
import { settingsOf } from './text-encoder-settings.js';
import {
  TextInference,
  type EncodeOptions,
  type TokenRepresentations,
  type WindowedOptions,
} from './text-inference.js';
import { emptyRows, NativeTokenEncoder, TokenEncoder } from './token-encoder.js';
import { trainedWeights } from './trained-weights.js';
import type { TokenBatch, Tokenizer } from '../tokenizer/tokenizer.js';

export type { TokenRepresentations } from './text-inference.js';
export type { CreateOptions, LoadOptions, TextEncoderOptions } from './text-encoder-options.js';

/** What {@link TextEncoder.encodeQuery} and {@link TextEncoder.encodeDocument} take. */
export type TaskEncodeOptions = Omit<EncodeOptions, 'task'> & {
  /** How many numbers of a representation to give. */
  readonly dimensions?: number | undefined;
};

/** Only this module has it: TypeScript's `private` does not stop JavaScript from calling the constructor. */
const OWN = Symbol('TextEncoder');

/**
 * A model that turns texts into representations: a transformer of one of the types in README.md,
 * layers of SRU or SRU++, or word vectors alone, with pooling and the modules behind it, computed on packed tokens (no
 * padding).
 *
 * @example
 * ```ts
 * const model = await TextEncoder.load('hf:sentence-transformers/all-MiniLM-L6-v2', { device: 'cpu' });
 * const representations = await model.encode(['a text', 'another one']);
 * console.log(representations.shape); // [2, 384]
 * await model.save('copy');
 * ```
 */
export class TextEncoder extends TokenEncoder {
  /** The passes that put representations into their places natively; for {@link GradCache}. */
  readonly rowPasses: RowPasses<TokenBatch> | undefined;
  /**
   * The layers whose representations training takes: the last one, and behind it those of the option `layers`, from the
   * embeddings (0) on. In this order they lie side by side in a row, and {@link adaptiveLayer} is told of it.
   */
  readonly layers: readonly number[];

  readonly #native: NativeTokenEncoder;
  readonly #inference: TextInference;
  readonly #options: LoadOptions;
  #folder: ModelFolder;
  readonly #prompts: Prompts;
  readonly #tasks: TextTasks;
  #similarity: string | null;

  private constructor(
    own: symbol,
    folder: ModelFolder,
    options: TextEncoderOptions & Pick<LoadOptions, 'lora' | 'layers'>,
    weights: 'stored' | 'random',
  ) {
    if (own !== OWN)
      throw new GradCacheError(
        'INPUT',
        'TextEncoder.load() and TextEncoder.create() make an encoder, not new',
      );
    const { precision = 'float32', maxLength = folder.maxLength } = options;
    requireLength(maxLength, folder.modelType, folder.config);
    requireTextRoom(options.maxLength, folder.tokenizer.specialTokensPerText, 'text');
    if (folder.layout) requireBare(folder);
    const { settings, layers } = settingsOf(folder, options);
    if (weights === 'stored') requireSizes(folder);
    const perToken = folder.pooling === 'none';
    const tasks = textTasksOf(folder, options.maxLength);
    const nameOf = namesIn(folder);
    const trained = trainedWeights(settings, options.frozen ?? [], {
      architecture: architectureOf(folder.modelType),
      adapter: folder.adapter?.config ?? null,
      isNew: options.lora !== undefined,
      moduleName: nameOf,
    });
    const native = new NativeTokenEncoder(settings, options, trained);
    const prompts = new Prompts(folder.prompts, folder.defaultPrompt);
    super({ native, precision, maxLength, tokenizer: folder.tokenizer, prompts });
    const { passes } = native;
    this.#native = native;
    this.#prompts = prompts;
    this.#tasks = tasks;
    this.#options = options;
    this.layers = layers;
    const adapted = trained.adapters.map(({ layer }) => nameOf(layer));
    this.#folder =
      options.lora && folder.adapter
        ? { ...folder, adapter: settledAdapter(folder.adapter, adapted) }
        : folder;
    this.rowPasses = folder.splade
      ? undefined // the number of a row's entries is known only when it is encoded
      : {
          empty: (representations) => emptyRows(this, representations, this.trainedDimension),
          ...(perToken && { counts: countsOf }),
          forward: (chunk, forward, target) => passes.forwardRows(chunk, forward, target),
          backward: (...args) => passes.backwardRows(...args),
          progress: passes.progress,
        };
    this.#similarity = folder.similarity ?? null;
    this.#inference = new TextInference({
      passes,
      pooling: folder.pooling,
      dimension: () => this.dimension,
      tokens: this.automaticChunk.tokens,
      tokenize: (texts, given) => this.tokenize(texts, given),
      windowPieces: (texts, { prompt, ...how }) =>
        tasks.windowPieces(texts, { ...how, prefix: prompts.prefixOf(prompt) }),
      strategy: folder.splade?.strategy ?? 'max',
      empty: (rows, width) => emptyRows(this, rows, width),
    });
  }

  /**
   * Reads a Hugging Face folder (config.json, model.safetensors, tokenizer.json), a sentence-transformers folder, of a
   * SentenceTransformer, a SparseEncoder or a MultiVectorEncoder, a folder of Model2Vec, or one with adapters of PEFT
   * (adapter_config.json) and the base model that it names. `hf:owner/name` is one of the Hugging Face hub,
   * `hf:owner/name@revision` that of a branch, tag or commit: it is fetched once, into the cache that Python uses ({@link pull}).
   *
   * @throws GradCacheError `CHECKPOINT` for files that are damaged, missing or not supported, and for missing or
   * unexpected parameters; `DEVICE`, `CUDA_UNAVAILABLE`, `INPUT`, `OUT_OF_MEMORY`; `HUB` for a model that cannot be fetched
   */
  static async load(name: string, options: LoadOptions = {}): Promise<TextEncoder> {
    if (typeof name !== 'string')
      throw new GradCacheError(
        'INPUT',
        'TextEncoder.load needs the path of a model folder, or hf:owner/name',
      );
    checkLoadOptions(options);
    const folder = await folderOfModel('the model', name);
    const { pooling, lora, ...others } = options;
    const read =
      pooling === 'none'
        ? await perToken(await readModelFolder(folder, others), options, options.seed ?? 0)
        : await readModelFolder(folder, options);
    return inFolder(folder, () =>
      TextEncoder.#withWeights(lora ? newAdapter(lora, read, name) : read, options),
    );
  }

  /** An encoder with the weights of its folder. Adapters that it has no tensors of are new. */
  static #withWeights(model: ModelFolder, options: LoadOptions): TextEncoder {
    const encoder = new TextEncoder(OWN, model, options, 'stored');
    return orDispose(encoder, () => {
      const { weights } = encoder.#native;
      const isNew = (name: string) => options.lora !== undefined && isAdapterWeight(name);
      weights.fillRandomly({ deviation: 0, seed: options.seed ?? 0 }, isNew);
      matchWeights(
        model,
        weights.parameters.list.filter(({ name }) => !isNew(name)),
      );
      // The base model's weights are in its own folder.
      if (model.adapter) encoder.#folder = { ...encoder.#folder, tensors: new Map() };
    });
  }

  /**
   * An encoder of its own without adapters: the matrices of this one with theirs added, all of them trained. This encoder stays
   * as it is. Of one without adapters it is a copy.
   *
   * @throws GradCacheError `CHECKPOINT` if the base model is no longer in its folder; `OUT_OF_MEMORY`, `INPUT`
   */
  async merge(): Promise<TextEncoder> {
    const { frozen: _frozen, lora: _lora, ...options } = this.#options;
    return TextEncoder.#withWeights(await mergedFolder(await this.#state()), options);
  }

  /**
   * Makes an encoder with random weights: normal with the configuration's `initializer_range` (0.02), biases 0, norms 1.
   * Those of SRU and SRU++ begin as published: uniform (Glorot & Bengio 2010), the highway bias at `highway_bias`.
   *
   * @param config the content of a Hugging Face config.json: `model_type`, `vocab_size`, `hidden_size`, …
   *
   * With `model_type` `'sru'` (Lei et al. 2018) or `'srupp'` (Lei 2021) it is one of this package's own: `vocab_size`,
   * `hidden_size` (of both directions together), `num_hidden_layers`, and if wanted `embedding_size`,
   * `max_position_embeddings` (the longest text, 512), `pad_token_id`, `bidirectional` (true), `highway_bias` (0; for
   * `'srupp'` -2), `rescale` (false), `layer_norm` (`'none'`, `'before'` or `'after'` the layer), `layer_norm_eps`,
   * `hidden_dropout_prob` (0.1). `'srupp'` also needs `attention_size`, the width that attention takes place in, and has
   * `num_attention_heads` (1), `attention_probs_dropout_prob` (0.1), and `attention_layers` (numbers from 0) or
   * `attention_every_n_layers` (1). Python does not open the folders of these two.
   *
   * With `model_type` `'static'` it is a table of word vectors (`vocab_size`, `hidden_size`) whose mean is a text's
   * representation: StaticEmbedding of sentence-transformers. Its tokenizer is read with `specialTokens: false`.
   *
   * @throws GradCacheError `CHECKPOINT` for a configuration that is not supported, `INPUT`
   */
  static create(
    config: Readonly<Record<string, unknown>>,
    tokenizer: Tokenizer,
    options: CreateOptions = {},
  ): TextEncoder {
    checkCreateOptions(options);
    const { pooling = 'mean', normalize = pooling !== 'splade', seed = 0, maxLength, projection } = options;
    const isStatic = (config as { model_type?: unknown } | null)?.model_type === 'static';
    const folder = newModelFolder(config, tokenizer, {
      pooling: typeof pooling === 'string' ? pooling : asPooling(pooling),
      splade: pooling === 'splade' ? { ...SPLADE, ...options.splade } : null,
      lateInteraction: pooling === 'none' ? interactionOf(null, options.lateInteraction) : null,
      modules: [
        ...(projection === undefined ? [] : [emptyProjection(projection, hiddenSizeOf(config))]),
        ...(normalize ? [NORMALIZE] : []),
      ],
      layout: isStatic ? { place: '', model2vec: null } : null,
      maxLength: isStatic ? undefined : maxLength,
    });
    const deviation = initializerRange(config);
    const encoder = new TextEncoder(OWN, folder, options, 'random');
    return orDispose(encoder, () => {
      encoder.#native.weights.fillRandomly({ deviation, seed });
    });
  }

  /** Length of a representation that {@link TextEncoder.encode} returns. */
  get dimension(): number {
    return Math.min(this.#ownDimension, this.#folder.truncateDimension ?? Infinity);
  }

  /**
   * Length of a representation in training. It is greater than {@link TextEncoder.dimension} if
   * config_sentence_transformers.json has a `truncate_dim`. As in sentence-transformers, `encode` cuts representations to
   * it after normalisation, and training uses them whole. With the option `layers` it is that of all these layers together.
   */
  get trainedDimension(): number {
    return this.#ownDimension * this.layers.length;
  }

  /** Of one layer. */
  get #ownDimension(): number {
    return guarded(() => this.#native.handle.dimension);
  }

  /**
   * Whether each token has a representation, for late interaction (`pooling: 'none'`). Then texts are encoded by
   * {@link TextEncoder.encodeTokens}.
   */
  get perToken(): boolean {
    return this.#folder.pooling === 'none';
  }

  /** Whether queries are brought to one length, as a model with a representation for each token can ask for: they are never too long. */
  get expandsQueries(): boolean {
    return (this.#folder.lateInteraction?.queryExpansion ?? null) !== null;
  }

  /** The similarity that the model is made for (`similarity_fn_name` in its folder); null if it names none. */
  get similarity(): string | null {
    return this.#similarity;
  }

  /**
   * Sets the similarity that the model is made for. Evaluation uses it, and {@link TextEncoder.save} stores it.
   *
   * @throws GradCacheError `INPUT` for an unknown name
   */
  setSimilarity(name: Similarity | TokenSimilarity): void {
    requireOneOf('similarity', name, this.perToken ? TOKEN_SIMILARITIES : SIMILARITIES);
    this.#similarity = name;
  }

  /**
   * Token ids of texts, off the event loop.
   *
   * @param options.prompt name of one of {@link TextEncoder.prompts}, `''` for none, or the words themselves as
   * `{ prefix: 'query: ' }`; default: {@link TextEncoder.defaultPrompt}
   * @param options.maxLength the most tokens of a text, if fewer than {@link TextEncoder.maxLength}
   * @param options.task what the texts are. It tells their length where the folder states one (`query_length`,
   * `document_length`); for a model with a representation for each token also the expansion of queries and the tokens without a
   * representation. Default: neither; such a model reads them as documents, of any length
   * @throws GradCacheError `INPUT` for a text that is not a string, an unknown prompt or task, and for a text of which a length
   * limit leaves nothing behind a prompt that is not pooled
   */
  async tokenize(
    texts: readonly string[],
    options: {
      prompt?: Prompt | undefined;
      maxLength?: number | undefined;
      task?: TextTask | undefined;
    } = {},
  ): Promise<TokenBatch> {
    checkKnown('tokenize', options, ['prompt', 'maxLength', 'task']);
    const prefix = this.#prompts.prefixOf(options.prompt);
    return this.#tasks.tokenize(texts, prefix, options.maxLength, options.task);
  }

  /**
   * Representations [texts, dimension] in the order of the texts, on the encoder's device, without dropout or graph.
   *
   * @param options.prompt as for {@link TextEncoder.tokenize}
   * @param options.task as for {@link TextEncoder.tokenize}; it chooses no prompt, as {@link TextEncoder.encodeQuery} does
   * @param options.dimensions how many numbers of each to give, at most and by default {@link TextEncoder.dimension}. As
   * with `truncate_dim` they are not scaled to length one again. A model trained with {@link matryoshka} is made for this.
   * @throws GradCacheError `INPUT` also for a model with a representation for each token; `ABORTED`, `OUT_OF_MEMORY`
   */
  async encode(
    texts: readonly string[],
    options: EncodeOptions & { dimensions?: number | undefined } = {},
  ): Promise<Tensor> {
    return this.#inference.encode(texts, options);
  }

  /**
   * Representations of queries: {@link TextEncoder.encode} with `task: 'query'` and, where no other is given, the prompt
   * called `query`. A model without it puts nothing in front of a query, not even its default prompt.
   *
   * @throws GradCacheError as {@link TextEncoder.encode}
   */
  async encodeQuery(texts: readonly string[], options: TaskEncodeOptions = {}): Promise<Tensor> {
    return this.#encodeFor('query', texts, options);
  }

  /**
   * Representations of documents: {@link TextEncoder.encode} with `task: 'document'` and, where no other is given, the first of
   * the prompts `document`, `passage` and `corpus` that the model has; else nothing.
   *
   * @throws GradCacheError as {@link TextEncoder.encode}
   */
  async encodeDocument(texts: readonly string[], options: TaskEncodeOptions = {}): Promise<Tensor> {
    return this.#encodeFor('document', texts, options);
  }

  async #encodeFor(task: TextTask, texts: readonly string[], options: TaskEncodeOptions): Promise<Tensor> {
    const name = task === 'query' ? 'encodeQuery' : 'encodeDocument';
    checkKnown(name, options, ['prompt', 'dimensions', 'tokensPerChunk', 'signal']);
    const { prompt = this.#prompts.nameFor(task) } = options;
    return this.#inference.encode(texts, { ...options, prompt, task });
  }

  /**
   * Representations of the tokens of texts, for a model with one for each token (`pooling: 'none'`); without dropout or
   * graph.
   *
   * @param options.task as for {@link TextEncoder.tokenize}
   * @param options.prompt as for {@link TextEncoder.tokenize}
   * @param options.windows a text that is too long has the representations of all its windows, one window after the other, in place
   * of those of its beginning alone
   * @throws GradCacheError `INPUT` also for a model that pools; `ABORTED`, `OUT_OF_MEMORY`
   */
  async encodeTokens(texts: readonly string[], options: WindowedOptions = {}): Promise<TokenRepresentations> {
    return this.#inference.encodeTokens(texts, options);
  }

  /** The length limit that the model's folder states, in tokens: its card's. `maxLength` may be more, up to its positions. */
  get statedMaxLength(): number {
    return this.#folder.maxLength;
  }

  /** Whether representations are sparse: those of `pooling: 'splade'`. */
  get sparse(): boolean {
    return this.#folder.pooling === 'splade';
  }

  /**
   * The representations of a sparse encoder without their zeros, in the order of the texts, as {@link TextEncoder.encode}
   * has them with all.
   *
   * @param options.windows a text that is too long has for each word the greatest value of all its windows, or with the strategy `'sum'`
   * their sum, in place of those of its beginning alone
   * @throws GradCacheError `INPUT` for an encoder that is not sparse; as {@link TextEncoder.encode}
   */
  async encodeSparse(texts: readonly string[], options: WindowedOptions = {}): Promise<SparseRows> {
    return this.#inference.encodeSparse(texts, options);
  }

  /**
   * Writes a folder that sentence-transformers and transformers open. It is written under another name, then renamed. If
   * the folder already holds a model, that model's and its tokenizer's files are replaced and all others stay. Old weights
   * in other formats (onnx/, openvino/, *.bin) are among those: export them again.
   *
   * Of an adapted model only the adapters are written, with the path of its base model, as PEFT has them: `PeftModel` and
   * sentence-transformers open the folder. {@link TextEncoder.merge} gives a whole model.
   *
   * The folder states the length limit that the model was read with, not the `maxLength` that it was loaded with: a shorter
   * limit in training does not shorten the texts of those who use the model. A model from {@link TextEncoder.create} keeps
   * the `maxLength` that it was created with.
   *
   * @param options.maxLength the limit that the folder states instead
   * @param options.dimensions how many numbers of a representation `encode` of the saved model gives, here and in
   * sentence-transformers (`truncate_dim`). Default: what the model was read with
   * @throws GradCacheError `INPUT` when the folder cannot be written, or while an optimizer updates the weights
   */
  async save(
    folder: string,
    options: { maxLength?: number | undefined; dimensions?: number | undefined } = {},
  ): Promise<void> {
    checkKnown('save', options, ['maxLength', 'dimensions']);
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

  async #snapshot(options: {
    maxLength?: number | undefined;
    dimensions?: number | undefined;
  }): Promise<ModelSnapshot> {
    const { maxLength = this.#folder.maxLength, dimensions } = options;
    requireLength(maxLength, this.#folder.modelType, this.#folder.config);
    if (this.#folder.layout && maxLength !== this.#folder.maxLength)
      throw refused('maxLength', maxLength, 'none: a folder of word vectors states no length limit, so it');
    if (dimensions !== undefined)
      requireNumber('dimensions', dimensions, { from: 1, to: this.#ownDimension, whole: true });
    const truncateDimension = dimensions ?? this.#folder.truncateDimension ?? null;
    const model = { ...(await this.#state()), maxLength, truncateDimension };
    return { save: (folder) => writeModelFolder(folder, model) };
  }

  /** The model as it is now. */
  async #state(): Promise<ModelFolder> {
    const { prompts, similarity } = this;
    const { weights } = this.#native;
    const parameters = weights.parameters.list;
    const isFrozen = (name: string) => weights.isFrozen(name);
    return weights.parameters.whileReading(() =>
      storedWeights({ ...this.#folder, prompts, similarity }, { parameters, isFrozen }),
    );
  }

  /**
   * Uploads the model to the Hugging Face hub, as {@link push} does a folder: as one commit, with a model card.
   *
   * @param name `owner/name`; the repository is made where there is none
   * @throws GradCacheError `HUB`, `SETUP`, `INPUT`, `ABORTED`, as {@link push}
   */
  async push(name: string, options: PushOptions = {}): Promise<Pushed> {
    return pushModel((folder) => this.save(folder), name, options);
  }

  /**
   * Writes two encoders as one folder of sentence-transformers, whose Router sends queries to one and documents to the other.
   * They are loaded again with the option `route`. Prompts and similarity of the folder are those of the encoder of documents,
   * and the prompts of the other one that it lacks.
   *
   * @throws GradCacheError `INPUT` for encoders that do not give one dense representation of a text or give different numbers of
   * dimensions, and as {@link TextEncoder.save}
   */
  static async saveRoutes(
    folder: string,
    encoders: { readonly query: TextEncoder; readonly document: TextEncoder },
  ): Promise<void> {
    await (await TextEncoder.snapshotRoutes(encoders)).save(folder);
  }

  /**
   * Copies two encoders to host memory, from where {@link TextEncoder.saveRoutes} can save them while they are trained further.
   *
   * @throws GradCacheError `INPUT` as there, and while an optimizer updates the weights
   */
  static async snapshotRoutes(encoders: {
    readonly query: TextEncoder;
    readonly document: TextEncoder;
  }): Promise<ModelSnapshot> {
    checkKnown('encoders', encoders, ['query', 'document']);
    const { query, document } = encoders;
    for (const [name, encoder] of Object.entries({ query, document }))
      if (!(encoder instanceof TextEncoder)) throw refused(`encoders.${name}`, encoder, 'a TextEncoder');
    if (query.#ownDimension !== document.#ownDimension)
      throw refused(
        'the dimension of the encoder of queries',
        query.#ownDimension,
        `${document.#ownDimension}, that of the encoder of documents,`,
      );
    const routes = { query: await query.#state(), document: await document.#state() };
    return { save: (folder) => writeRoutes(folder, routes) };
  }

  /** What `console.log` shows, without the weights and the tokenizer's files. */
  [inspect.custom](): string {
    const { device, precision, maxLength, tokenizer } = this;
    const { modelType, pooling } = this.#folder;
    const parts = {
      modelType,
      pooling: poolingsOf(pooling).join(' + '),
      device,
      precision,
      maxLength,
      parameters: this.#native.weights.parameters.list.length,
    };
    const shown = Object.entries(parts).map(([name, value]) => `${name}: ${value}`);
    return `TextEncoder { ${shown.join(', ')}, tokenizer: ${inspect(tokenizer)} }`;
  }
}

/**
 * The names that parameters have in a folder. The function holds no weights of it, as one in the constructor would: the encoder's own
 * functions keep all that is held there.
 */
function namesIn({ splade, modelType }: ModelFolder): (parameter: string) => string {
  return (parameter) => nameInFolder({ splade, modelType }, parameter);
}
