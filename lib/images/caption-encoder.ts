import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { countIn } from '../architectures/config-values.js';
import { ModuleEncoder } from '../encoders/module-encoder.js';
import { inFolder } from '../model-folder/in-folder.js';
import { checkKnown } from '../options/known-options.js';
import { requireTexts } from '../options/option-values.js';
import { isJsonObject } from '../files/strict-json.js';
import { noGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { PLAIN_CLASS } from '../tokenizer/tokenizer-classes.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import { captionTower, type CaptionTower } from './caption-tower.js';
import { encodeInChunks } from './encode-in-chunks.js';
import { COUNTED, OF_FOLDER, STORE_INTO } from './internal.js';
import { towerPart, type PictureFolder } from './picture-folder.js';
import { TowerWeights, type TowerOptions } from './tower-weights.js';
import type { StoredTensor } from '../safetensors/safetensors.js';

/** Only this folder has it. */
const OWN = Symbol('CaptionEncoder');

/**
 * The captions' tower of CLIP or SigLIP. {@link ImageTextModel.load} makes it.
 *
 * @example
 * ```ts
 * const { images, captions } = await ImageTextModel.load('clip');
 * const representations = await captions.encode(['a dog on a beach', 'a red bus']);
 * ```
 */
export class CaptionEncoder extends ModuleEncoder<Tensor> {
  /** Length of a representation. */
  readonly dimension: number;
  /** The most tokens of a caption, special ones included; longer ones are cut. */
  readonly maxLength: number;
  /** Captions of a chunk: as many as take about a gigabyte with their graph in float32, at most 256. */
  override readonly automaticChunk: {
    /** Captions in the encoder at once. */
    readonly sequences: number;
  };
  /** What turns captions into tokens. */
  readonly tokenizer: Tokenizer;
  readonly #tower: CaptionTower;
  readonly #weights: TowerWeights;
  readonly #padding: number;

  private constructor(
    own: symbol,
    tower: CaptionTower,
    weights: TowerWeights,
    tokenizer: Tokenizer,
    padding: number,
  ) {
    if (own !== OWN)
      throw new GradCacheError('INPUT', 'ImageTextModel.load() makes an encoder of captions, not new');
    super({
      forward: (ids, { training } = { training: true }) => weights.encode(ids, training),
      parameters: () => weights.parameters,
    });
    this.dimension = tower.dimension;
    this.maxLength = tower.positions;
    this.automaticChunk = tower.chunk;
    this.tokenizer = tokenizer;
    this.#tower = tower;
    this.#weights = weights;
    this.#padding = padding;
  }

  /**
   * The captions' tower of a folder that was read, or of a model that is made.
   *
   * @param own its tokenizer; default: that of the folder
   * @internal
   */
  static async [OF_FOLDER](
    folder: PictureFolder,
    options: TowerOptions,
    own?: Tokenizer,
  ): Promise<CaptionEncoder> {
    const config = inFolder(folder.folder, () => towerPart(folder, 'text_config'));
    const tower = inFolder(folder.folder, () =>
      captionTower(folder.kind as 'clip' | 'siglip', config, {
        projection: countIn(folder.config, 'projection_dim', 512),
        dropout: options.dropout,
      }),
    );
    // What the classes of these models build is what their tokenizer.json holds.
    const tokenizer =
      own ??
      (await Tokenizer.fromFile(join(folder.folder, 'tokenizer.json'), {
        tokenizerClass: PLAIN_CLASS,
        fixedClass: true,
      }));
    const padding = paddingOf(folder, tokenizer) ?? countIn({ ...config }, 'pad_token_id', 1);
    const weights = inFolder(
      folder.folder,
      () => new TowerWeights(tower, 'text_model.', folder.tensors, options),
    );
    return new CaptionEncoder(OWN, tower, weights, tokenizer, padding);
  }

  /**
   * Token ids of captions, int64 [n, length], off the event loop. SigLIP's are all as long as {@link CaptionEncoder.maxLength};
   * CLIP's as the longest of them.
   *
   * @throws GradCacheError `INPUT`
   */
  async tokenize(captions: readonly string[]): Promise<Tensor> {
    return (await this[COUNTED](captions)).ids;
  }

  /** {@link CaptionEncoder.tokenize}, with the number of tokens without padding, and of captions that were cut. @internal */
  async [COUNTED](
    captions: readonly string[],
  ): Promise<{ readonly ids: Tensor; readonly tokens: number; readonly truncated: number }> {
    requireTexts('captions', captions);
    if (captions.length === 0) throw new GradCacheError('INPUT', 'captions is empty: a text is needed.');
    const { ids, offsets, truncated } = await this.tokenizer.encode(captions, { maxLength: this.maxLength });
    const lengths = captions.map((_, row) => offsets[row + 1]! - offsets[row]!);
    const length = this.#tower.full ? this.maxLength : Math.max(1, ...lengths);
    const padded = new BigInt64Array(captions.length * length).fill(BigInt(this.#padding));
    for (const [row, count] of lengths.entries())
      for (let k = 0; k < count; k++) padded[row * length + k] = BigInt(ids[offsets[row]! + k]!);
    const shape = [captions.length, length];
    return { ids: Tensor.from(padded, { shape, device: this.device }), tokens: ids.length, truncated };
  }

  /**
   * Representations [n, dimension] of captions, without dropout.
   *
   * @param options.captionsPerChunk how many are encoded at a time. Default: 256
   * @param options.signal ends the work after a chunk
   * @throws GradCacheError `INPUT`, `OUT_OF_MEMORY`, `ABORTED`
   */
  async encode(
    captions: readonly string[],
    options: { captionsPerChunk?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<Tensor> {
    requireTexts('captions', captions);
    checkKnown('encode', options, ['captionsPerChunk', 'signal']);
    const { captionsPerChunk = 256, signal } = options;
    const chunks = { name: 'captionsPerChunk', count: captionsPerChunk, signal };
    return encodeInChunks(captions, chunks, async (some) => {
      const ids = await this.tokenize(some);
      try {
        return tidy(() => noGrad(() => this.#weights.encode(ids, false)));
      } finally {
        ids.dispose();
      }
    });
  }

  /** The weights as tensors of a folder. @internal */
  [STORE_INTO](tensors: Map<string, StoredTensor>): Promise<void> {
    return this.#weights.storedInto(tensors);
  }

  /** The weights. Set `requiresGrad` of one to false to freeze it. */
  override parameters(): Parameter[] {
    return super.parameters();
  }

  /** Frees the weights. */
  dispose(): void {
    this.#weights.dispose();
  }

  /** Frees it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The padding token that tokenizer_config.json names. */
function paddingOf({ companions }: PictureFolder, tokenizer: Tokenizer): number | undefined {
  const bytes = companions.get('tokenizer_config.json');
  // The tokenizer has been read with it: it is JSON.
  const stated: unknown = bytes && JSON.parse(new TextDecoder().decode(bytes));
  const token = isJsonObject(stated) ? stated['pad_token'] : undefined;
  const content = isJsonObject(token) ? token['content'] : token;
  return tokenizer.addedTokens.find((each) => each.content === content)?.id;
}
