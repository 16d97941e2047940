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
import type { RowPasses } from '../step/encoder.js';
import { requireLength } from '../model-folder/length-limit.js';
import { hiddenSizeOf } from '../model-folder/hidden-size.js';
import { inFolder } from '../model-folder/in-folder.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import { readModelFolder, SPLADE, type ModelFolder } from '../model-folder/model-folder.js';
import { newModelFolder } from '../model-folder/new-model-folder.js';
import { writeModelFolder } from '../model-folder/write-model-folder.js';
import { matchWeights, requireSizes, storedWeights } from './model-state.js';
import { emptyProjection, interactionOf, perToken } from './per-token.js';
import { Prompts, type Prompt } from './prompts.js';
import type { SparseRows } from './sparse-rows.js';
import { countsOf } from './text-chunk.js';
import {
  checkCreateOptions,
  checkLoadOptions,
  type CreateOptions,
  type LoadOptions,
  type TextEncoderOptions,
} from './text-encoder-options.js';
import { settingsOf } from './text-encoder-settings.js';
import { TextInference, type EncodeOptions, type TokenRepresentations } from './text-inference.js';
import { emptyRows, NativeTokenEncoder, TokenEncoder } from './token-encoder.js';
import { TokenTasks } from './token-tasks.js';
import type { TokenBatch, Tokenizer } from '../tokenizer/tokenizer.js';

export type { TokenRepresentations } from './text-inference.js';
export type { CreateOptions, LoadOptions, TextEncoderOptions } from './text-encoder-options.js';

/** Only this module has it: TypeScript's `private` does not stop JavaScript from calling the constructor. */
const OWN = Symbol('TextEncoder');

/**
 * A model that turns texts into representations: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, MPNet or ELECTRA, or
 * layers of SRU or SRU++, with pooling, dense layers and normalisation, computed on packed tokens (no padding).
 */
export class TextEncoder extends TokenEncoder {
  readonly rowPasses: RowPasses<TokenBatch> | undefined;

  readonly #native: NativeTokenEncoder;
  readonly #inference: TextInference;
  readonly #folder: ModelFolder;
  readonly #prompts: Prompts;
  /** Null for a model that pools. */
  readonly #tasks: TokenTasks | null;
  #similarity: string | null;

  private constructor(
    own: symbol,
    folder: ModelFolder,
    options: TextEncoderOptions,
    weights: 'stored' | 'random',
  ) {
    if (own !== OWN)
      throw new GradCacheError(
        'INPUT',
        'TextEncoder.load() and TextEncoder.create() make an encoder, not new',
      );
    const { precision = 'float32', maxLength = folder.maxLength } = options;
    requireLength(maxLength, folder.modelType, folder.config);
    const settings = settingsOf(folder, options);
    if (weights === 'stored') requireSizes(folder);
    const perToken = folder.pooling === 'none';
    const tasks = perToken ? new TokenTasks(interactionOf(folder.lateInteraction), folder.tokenizer) : null;
    const native = new NativeTokenEncoder(settings, options);
    const prompts = new Prompts(folder.prompts, folder.defaultPrompt);
    super({ native, precision, maxLength, tokenizer: folder.tokenizer, prompts });
    const { passes } = native;
    this.#native = native;
    this.#prompts = prompts;
    this.#tasks = tasks;
    this.#folder = folder;
    this.rowPasses = folder.splade
      ? undefined // the number of a row's entries is known only when it is encoded
      : {
          empty: (representations) => emptyRows(this, representations, this.trainedDimension),
          ...(perToken && { counts: countsOf }),
          forward: (chunk, forward, target) => passes.forwardRows(chunk, forward, target),
          backward: (chunk, ticket, gradients, group) => passes.backwardRows(chunk, ticket, gradients, group),
        };
    this.#similarity = folder.similarity ?? null;
    this.#inference = new TextInference({
      passes,
      pooling: folder.pooling,
      dimension: () => this.dimension,
      tokens: this.automaticChunk.tokens,
      tokenize: (texts, given) => this.tokenize(texts, given),
      empty: (rows, width) => emptyRows(this, rows, width),
    });
  }

  /**
   * Reads a Hugging Face folder (config.json, model.safetensors, tokenizer.json) or a sentence-transformers folder, of a
   * SentenceTransformer or a MultiVectorEncoder.
   *
   * @throws GradCacheError `CHECKPOINT` for files that are damaged, missing or not supported, and for missing or
   * unexpected parameters; `DEVICE`, `CUDA_UNAVAILABLE`, `INPUT`, `OUT_OF_MEMORY`
   */
  static async load(folder: string, options: LoadOptions = {}): Promise<TextEncoder> {
    if (typeof folder !== 'string')
      throw new GradCacheError('INPUT', 'TextEncoder.load needs the path of a model folder');
    checkLoadOptions(options);
    const { pooling, ...others } = options;
    const model =
      pooling === 'none'
        ? await perToken(await readModelFolder(folder, others), options, options.seed ?? 0)
        : await readModelFolder(folder, options);
    return inFolder(folder, () => {
      const encoder = new TextEncoder(OWN, model, options, 'stored');
      return orDispose(encoder, () => {
        matchWeights(model, encoder.#native.weights.parameters.list);
      });
    });
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
   * @throws GradCacheError `CHECKPOINT` for a configuration that is not supported, `INPUT`
   */
  static create(
    config: Readonly<Record<string, unknown>>,
    tokenizer: Tokenizer,
    options: CreateOptions = {},
  ): TextEncoder {
    checkCreateOptions(options);
    const { pooling = 'mean', normalize = pooling !== 'splade', seed = 0, maxLength, projection } = options;
    const folder = newModelFolder(config, tokenizer, {
      pooling,
      splade: pooling === 'splade' ? { ...SPLADE, ...options.splade } : null,
      lateInteraction: pooling === 'none' ? interactionOf(null, options.lateInteraction) : null,
      dense: projection === undefined ? [] : [emptyProjection(projection, hiddenSizeOf(config))],
      normalize,
      maxLength,
    });
    const deviation = initializerRange(config);
    const encoder = new TextEncoder(OWN, folder, options, 'random');
    return orDispose(encoder, () => {
      encoder.#native.weights.fillRandomly({ deviation, seed });
    });
  }

  /** Length of a representation that {@link TextEncoder.encode} returns. */
  get dimension(): number {
    return Math.min(this.trainedDimension, this.#folder.truncateDimension ?? Infinity);
  }

  /**
   * Length of a representation in training. It is greater than {@link TextEncoder.dimension} if
   * config_sentence_transformers.json has a `truncate_dim`. As in sentence-transformers, `encode` cuts representations to
   * it after normalisation, and training uses them whole.
   */
  get trainedDimension(): number {
    return guarded(() => this.#native.handle.dimension);
  }

  /**
   * Whether each token has a representation, for late interaction (`pooling: 'none'`). Then texts are encoded by
   * {@link TextEncoder.encodeTokens}.
   */
  get perToken(): boolean {
    return this.#tasks !== null;
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
   * @param options.task for a model with a representation for each token: what the texts are. It tells their length, the
   * expansion of queries, and the tokens without a representation. Default: as documents, of any length
   * @throws GradCacheError `INPUT` for a text that is not a string, an unknown prompt, or a task of a model that pools
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
    const { maxLength = this.maxLength, task } = options;
    requireNumber('maxLength', maxLength, { from: 1, to: this.maxLength, whole: true });
    const prefix = this.#prompts.prefixOf(options.prompt);
    if (this.#tasks === null) {
      if (task !== undefined)
        throw refused('task', task, 'none: this model pools the tokens of any text, so it');
      return this.tokenizer.encode(texts, { maxLength, prefix });
    }
    const limit = this.#tasks.lengthOf(task, maxLength);
    return this.#tasks.finish(await this.tokenizer.encode(texts, { maxLength: limit, prefix }), task);
  }

  /**
   * Representations [texts, dimension] in the order of the texts, on the encoder's device, without dropout or graph.
   *
   * @param options.prompt as for {@link TextEncoder.tokenize}
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
   * Representations of the tokens of texts, for a model with one for each token (`pooling: 'none'`); without dropout or
   * graph.
   *
   * @param options.task as for {@link TextEncoder.tokenize}
   * @param options.prompt as for {@link TextEncoder.tokenize}
   * @throws GradCacheError `INPUT` also for a model that pools; `ABORTED`, `OUT_OF_MEMORY`
   */
  async encodeTokens(
    texts: readonly string[],
    options: EncodeOptions & { task?: TextTask | undefined } = {},
  ): Promise<TokenRepresentations> {
    return this.#inference.encodeTokens(texts, options);
  }

  /** Whether representations are sparse: those of `pooling: 'splade'`. */
  get sparse(): boolean {
    return this.#folder.pooling === 'splade';
  }

  /**
   * The representations of a sparse encoder without their zeros, in the order of the texts, as {@link TextEncoder.encode}
   * has them with all.
   *
   * @throws GradCacheError `INPUT` for an encoder that is not sparse; as {@link TextEncoder.encode}
   */
  async encodeSparse(texts: readonly string[], options: EncodeOptions = {}): Promise<SparseRows> {
    return this.#inference.encodeSparse(texts, options);
  }

  /**
   * Writes a folder that sentence-transformers and transformers open. It is written under another name, then renamed. If
   * the folder already holds a model, that model's and its tokenizer's files are replaced and all others stay. Old weights
   * in other formats (onnx/, openvino/, *.bin) are among those: export them again.
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
    const { maxLength = this.#folder.maxLength, dimensions } = options;
    requireLength(maxLength, this.#folder.modelType, this.#folder.config);
    if (dimensions !== undefined)
      requireNumber('dimensions', dimensions, { from: 1, to: this.trainedDimension, whole: true });
    const truncateDimension = dimensions ?? this.#folder.truncateDimension ?? null;
    const { prompts, similarity } = this;
    const model = { ...this.#folder, prompts, similarity, maxLength, truncateDimension };
    const { parameters } = this.#native.weights;
    const state = await parameters.whileReading(() => storedWeights(model, parameters.list));
    await writeModelFolder(folder, state);
  }

  /** What `console.log` shows, without the weights and the tokenizer's files. */
  [inspect.custom](): string {
    const { device, precision, maxLength, tokenizer } = this;
    const { modelType, pooling } = this.#folder;
    const parts = {
      modelType,
      pooling,
      device,
      precision,
      maxLength,
      parameters: this.#native.weights.parameters.list.length,
    };
    const shown = Object.entries(parts).map(([name, value]) => `${name}: ${value}`);
    return `TextEncoder { ${shown.join(', ')}, tokenizer: ${inspect(tokenizer)} }`;
  }
}
