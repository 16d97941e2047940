import { GradCacheError } from '../errors.js';
import { refusedConfig } from '../architectures/config-values.js';
import { isJsonObject } from '../files/strict-json.js';
import { inFolder } from '../model-folder/in-folder.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber, requireString } from '../options/option-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { CaptionEncoder } from './caption-encoder.js';
import { ImageEncoder, type NewImageEncoderOptions } from './image-encoder.js';
import { OF_FOLDER, STORE_INTO } from './internal.js';
import { newImageTextFolder } from './new-image-text-folder.js';
import { readPictureFolder, writePictureFolder, type PictureFolder } from './picture-folder.js';
import type { Preprocessing } from './preprocessing.js';
import { scoreNumbersOf } from './score-numbers.js';
import { checkTowerOptions } from './tower-options.js';
import type { TowerOptions } from './tower-weights.js';

/** What the scores of a model are made of beside its cosines. */
export interface ScoreNumbers {
  /** Cosines are divided by it; `logit_scale` is the logarithm of its inverse. */
  readonly temperature?: number | undefined;
  /** SigLIP adds it to every score: `logit_bias`. */
  readonly bias?: number | undefined;
}

/** Only this module has it. */
const OWN = Symbol('ImageTextModel');

/**
 * CLIP or SigLIP: a tower of pictures and one of captions, whose cosines are compared.
 *
 * ```ts
 * const model = await ImageTextModel.load('clip');
 * const { images, captions } = model;
 * const loss = infoNCE({ temperature: { initial: model.temperature, learned: true }, symmetric: true });
 * const gradcache = new GradCache({ encoders: [images, captions], loss, chunk: { sequences: 32 } });
 * const { pixels } = await images.read(files);
 * await gradcache.step([pixels, captions.tokenize(texts)]);
 * await model.save('trained');
 * ```
 */
export class ImageTextModel {
  /** The tower of pictures. */
  readonly images: ImageEncoder;
  /** The tower of captions. */
  readonly captions: CaptionEncoder;
  /** The temperature that the folder states, 1 / exp(`logit_scale`). */
  readonly temperature: number;
  /** What SigLIP adds to its scores; null for CLIP. */
  readonly bias: number | null;
  readonly #folder: PictureFolder;

  private constructor(own: symbol, folder: PictureFolder, images: ImageEncoder, captions: CaptionEncoder) {
    if (own !== OWN) throw new GradCacheError('INPUT', 'ImageTextModel.load() makes a model, not new');
    this.images = images;
    this.captions = captions;
    this.#folder = folder;
    const { temperature, bias } = scoreNumbersOf(folder);
    this.temperature = temperature;
    this.bias = bias;
  }

  /**
   * Reads a folder of transformers with `model_type` clip or siglip, its tokenizer.json and preprocessor_config.json.
   *
   * @throws GradCacheError as {@link ImageEncoder.load}
   */
  static async load(name: string, options: TowerOptions = {}): Promise<ImageTextModel> {
    requireString('the model folder', name);
    checkTowerOptions('ImageTextModel.load', options);
    const folder = await readPictureFolder(name);
    if (!folder.both)
      throw inFolder(folder.folder, () =>
        refusedConfig('model_type', folder.config['model_type'], 'clip or siglip, which have captions,'),
      );
    return ImageTextModel.#of(folder, options);
  }

  /**
   * Makes a model with random weights: normal with the configurations' `initializer_range` (0.02), biases 0, norms 1. Pictures
   * are prepared as is usual for its kind. CLIP's temperature begins as `logit_scale_init_value` says (0.07), SigLIP's
   * at 0.1 with a bias of -10.
   *
   * @param config the content of a Hugging Face config.json with `model_type` clip or siglip
   * @param tokenizer of captions
   * @throws GradCacheError `CHECKPOINT` for a configuration that is not supported, or not of this tokenizer; `INPUT`, `DEVICE`
   */
  static async create(
    config: Readonly<Record<string, unknown>>,
    tokenizer: Tokenizer,
    options: NewImageEncoderOptions = {},
  ): Promise<ImageTextModel> {
    checkTowerOptions('ImageTextModel.create', options, ['seed']);
    const { seed = 0, ...rest } = options;
    requireNumber('seed', seed, { from: 0, whole: true });
    if (!isJsonObject(config)) throw refused('config', config, 'an object, the content of a config.json,');
    if (typeof tokenizer?.encode !== 'function') throw refused('tokenizer', tokenizer, 'a Tokenizer');
    const { folder, preprocessing } = await newImageTextFolder(config, tokenizer, seed);
    return ImageTextModel.#of(folder, rest, { preprocessing, tokenizer });
  }

  static async #of(
    folder: PictureFolder,
    options: TowerOptions,
    made: { preprocessing?: Preprocessing; tokenizer?: Tokenizer } = {},
  ): Promise<ImageTextModel> {
    const images = await ImageEncoder[OF_FOLDER](folder, options, made.preprocessing);
    try {
      const captions = await CaptionEncoder[OF_FOLDER](folder, options, made.tokenizer);
      return new ImageTextModel(OWN, folder, images, captions);
    } catch (error) {
      images.dispose();
      throw error;
    }
  }

  /**
   * Writes a folder that transformers opens.
   *
   * @param options what the loss has learned; default: what the folder that was read has
   * @throws GradCacheError `INPUT` when it cannot be written
   */
  async save(folder: string, options: ScoreNumbers = {}): Promise<void> {
    requireString('the model folder', folder);
    await (await this.snapshot(options)).save(folder);
  }

  /**
   * Copies the weights to host memory, to be written while training goes on.
   *
   * @param options as of {@link ImageTextModel.save}
   * @throws GradCacheError `INPUT`
   */
  async snapshot(options: ScoreNumbers = {}): Promise<ModelSnapshot> {
    checkKnown('save', options, ['temperature', 'bias']);
    const { temperature, bias } = options;
    if (temperature !== undefined) requireNumber('temperature', temperature, { above: 0 });
    if (bias !== undefined) requireNumber('bias', bias);
    if (bias !== undefined && this.bias === null)
      throw new GradCacheError('INPUT', 'bias is given, but CLIP adds nothing to its scores: leave it out.');
    const tensors = new Map(this.#folder.tensors);
    await this.images[STORE_INTO](tensors);
    await this.captions[STORE_INTO](tensors);
    if (temperature !== undefined) setNumber(tensors, 'logit_scale', -Math.log(temperature));
    if (bias !== undefined) setNumber(tensors, 'logit_bias', bias);
    return { save: (folder) => writePictureFolder(folder, this.#folder, tensors) };
  }

  /** Frees the weights of both towers. */
  dispose(): void {
    this.images.dispose();
    this.captions.dispose();
  }

  /** Frees it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function setNumber(tensors: Map<string, StoredTensor>, name: string, value: number): void {
  const { shape } = tensors.get(name)!;
  tensors.set(name, { dtype: 'float32', shape, bytes: new Uint8Array(Float32Array.of(value).buffer) });
}
