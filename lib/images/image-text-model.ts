import { GradCacheError } from '../errors.js';
import { refusedConfig } from '../architectures/config-values.js';
import { inFolder } from '../model-folder/in-folder.js';
import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireString } from '../options/option-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored } from '../safetensors/stored-tensor.js';
import { CaptionEncoder } from './caption-encoder.js';
import { ImageEncoder } from './image-encoder.js';
import { OF_FOLDER, STORE_INTO } from './internal.js';
import { readPictureFolder, writePictureFolder, type PictureFolder } from './picture-folder.js';
import { checkTowerOptions } from './tower-options.js';
import type { TowerOptions } from './tower-weights.js';

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
    this.temperature = Math.exp(-numberOf(folder, 'logit_scale'));
    this.bias = folder.kind === 'siglip' ? numberOf(folder, 'logit_bias') : null;
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
    const images = await ImageEncoder[OF_FOLDER](folder, options);
    try {
      const captions = await CaptionEncoder[OF_FOLDER](folder, options);
      return new ImageTextModel(OWN, folder, images, captions);
    } catch (error) {
      images.dispose();
      throw error;
    }
  }

  /**
   * Writes a folder that transformers opens.
   *
   * @param options.temperature what the loss has learned; default: that of the folder that was read
   * @param options.bias the same of what SigLIP adds to its scores
   * @throws GradCacheError `INPUT` when it cannot be written
   */
  async save(
    folder: string,
    options: { temperature?: number | undefined; bias?: number | undefined } = {},
  ): Promise<void> {
    requireString('the model folder', folder);
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
    await writePictureFolder(folder, this.#folder, tensors);
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

function numberOf({ folder, tensors }: PictureFolder, name: string): number {
  const stored = tensors.get(name);
  if (stored === undefined || stored.shape.some((extent) => extent !== 1))
    throw new GradCacheError('CHECKPOINT', `${folder}: the weights have no number ${name}.`);
  const tensor = fromStored(stored);
  try {
    return tensor.item();
  } finally {
    tensor.dispose();
  }
}

function setNumber(tensors: Map<string, StoredTensor>, name: string, value: number): void {
  const { shape } = tensors.get(name)!;
  tensors.set(name, { dtype: 'float32', shape, bytes: new Uint8Array(Float32Array.of(value).buffer) });
}
