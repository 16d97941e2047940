import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { TextEncoder } from '../encoders/text-encoder.js';
import { GradCacheError } from '../errors.js';
import { IMAGE_MODEL } from '../hub/model-files.js';
import { folderOfModel } from '../hub/pull.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { replaceModel } from '../model-folder/write-model-folder.js';
import { refused, requireString } from '../options/option-values.js';
import { ImageEncoder } from './image-encoder.js';
import type { ImageTextTowers } from './image-text-towers.js';
import { checkTowerOptions } from './tower-options.js';
import type { TowerOptions } from './tower-weights.js';

/**
 * A text encoder and an encoder of pictures of their own folders, such as a ViT, which are trained together. Their representations
 * have one length.
 *
 * ```ts
 * const captions = await TextEncoder.load('all-MiniLM-L6-v2');
 * const images = await ImageEncoder.load('dino-vits16');
 * const pair = new ImageTextPair(images, captions);
 * const gradcache = new GradCache({ encoders: [images, captions], loss: infoNCE({ symmetric: true }) });
 * const { pixels } = await images.read(files);
 * await gradcache.step([pixels, await captions.tokenize(texts)]);
 * await pair.save('trained'); // the text model, with the other in its folder image_model
 * ```
 */
export class ImageTextPair implements ImageTextTowers {
  /** The tower of pictures. */
  readonly images: ImageEncoder;
  /** The tower of captions. */
  readonly captions: TextEncoder;
  /** Its folder states none: what a loss learns is stored beside it. */
  readonly bias = null;

  /** @throws GradCacheError `INPUT` for encoders whose representations have other lengths */
  constructor(images: ImageEncoder, captions: TextEncoder) {
    if (typeof images?.read !== 'function') throw refused('images', images, 'an ImageEncoder');
    if (typeof captions?.snapshot !== 'function') throw refused('captions', captions, 'a TextEncoder');
    if (images.dimension !== captions.dimension)
      throw new GradCacheError(
        'INPUT',
        `Pictures have representations of ${images.dimension} numbers, and captions of ${captions.dimension}; ${ONE_LENGTH}`,
      );
    this.images = images;
    this.captions = captions;
  }

  /**
   * Opens a folder that {@link ImageTextPair.save} or `gradcache train --image-model` wrote.
   *
   * @throws GradCacheError as `TextEncoder.load` and `ImageEncoder.load`; `CHECKPOINT` for a folder without `image_model`
   */
  static async load(name: string, options: TowerOptions = {}): Promise<ImageTextPair> {
    requireString('the model folder', name);
    checkTowerOptions('ImageTextPair.load', options);
    const folder = await folderOfModel('the model', name);
    const ofImages = imageModelIn(folder);
    if (ofImages === null)
      throw new GradCacheError(
        'CHECKPOINT',
        `${folder} has no folder ${IMAGE_MODEL} with a model of pictures: open it with TextEncoder.load().`,
      );
    const captions = await TextEncoder.load(folder, options);
    let images: ImageEncoder | undefined;
    try {
      images = await ImageEncoder.load(ofImages, options);
      return new ImageTextPair(images, captions);
    } catch (error) {
      images?.dispose();
      captions.dispose();
      throw error;
    }
  }

  /**
   * Writes the folder of the text model, which opens by itself, and in it a folder `image_model`, which does so too.
   *
   * @throws GradCacheError `INPUT` when it cannot be written
   */
  async save(folder: string): Promise<void> {
    requireString('the model folder', folder);
    await (await this.snapshot()).save(folder);
  }

  /** Copies the weights to host memory, to be written while training goes on. */
  async snapshot(): Promise<ModelSnapshot> {
    const [captions, images] = [await this.captions.snapshot(), await this.images.snapshot()];
    return {
      save: (path) =>
        replaceModel(path, async (folder) => {
          await captions.save(folder);
          await images.save(join(folder, IMAGE_MODEL));
        }),
    };
  }

  /** Frees the weights of both. */
  dispose(): void {
    this.images.dispose();
    this.captions.dispose();
  }

  /** Frees it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What is needed of two models, for a message. */
export const ONE_LENGTH =
  'one length is needed: take a text model that ends with a Dense module of that length, or another model of pictures.';

/** The folder of the model of pictures in that of a pair; null: it has none. */
export function imageModelIn(folder: string): string | null {
  const path = join(folder, IMAGE_MODEL);
  return existsSync(join(path, 'config.json')) ? path : null;
}
