import { GradCacheError } from '../errors.js';
import { isJsonObject } from '../files/strict-json.js';
import { inFolder } from '../model-folder/in-folder.js';
import { ModuleEncoder } from '../encoders/module-encoder.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireNumber,
  requireOneOf,
  requireString,
  requireTexts,
} from '../options/option-values.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { noGrad } from '../tensor/autograd.js';
import { inType } from '../tensor/in-type.js';
import { tidy } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { initializerRange } from '../architectures/architecture.js';
import { countIn } from '../architectures/config-values.js';
import { preparedPictures } from './prepared-pictures.js';
import { encodeInChunks } from './encode-in-chunks.js';
import { OF_FOLDER, READ, STORE_INTO } from './internal.js';
import {
  newPictureFolder,
  readPictureFolder,
  towerPart,
  writePictureFolder,
  type PictureFolder,
} from './picture-folder.js';
import { readPreprocessing, usualPreprocessing, type Preprocessing } from './preprocessing.js';
import { checkTowerOptions } from './tower-options.js';
import { randomWeights, TowerWeights, type TowerOptions, type TowerPrecision } from './tower-weights.js';
import { patchesIn } from './tower-config.js';
import { visionTower, type VisionTower } from './vision-tower.js';

/** Pictures as an {@link ImageEncoder} takes them in a step. */
export interface PictureBatch {
  /** uint8 [n, 3, height, width]: the pictures that could be decoded, prepared as the model's folder says. */
  readonly pixels: Tensor;
  /** The places of these in the list of paths. */
  readonly kept: readonly number[];
  /** What was wrong with the others. */
  readonly bad: readonly {
    /** The file. */
    readonly path: string;
    /** What is wrong with it. */
    readonly message: string;
  }[];
}

/** What {@link ImageEncoder.create} takes. */
export interface NewImageEncoderOptions extends TowerOptions {
  /** Of the random weights. Default: 0 */
  readonly seed?: number | undefined;
}

/** What {@link ImageEncoder.read} takes. */
export interface ReadPicturesOptions {
  /** What becomes of a picture that cannot be decoded. Default: `'throw'`. With `'skip'` it is told in {@link PictureBatch.bad}. */
  readonly onBadPicture?: 'throw' | 'skip' | undefined;
}

/** Only this folder has it: TypeScript's `private` does not stop JavaScript from calling the constructor. */
const OWN = Symbol('ImageEncoder');

/**
 * An encoder of pictures: ViT, or the tower of pictures of CLIP or SigLIP, from a folder of transformers. It is a tower of a
 * step beside any other, such as a `TextEncoder` of the same dimension, or the captions' tower of its own model
 * ({@link ImageTextModel}). It is made of libtorch's operators, in float32, bfloat16 or float64. JPEG, PNG, WebP and other pictures are
 * decoded by the package `sharp`, which is to be installed beside gradcache.
 *
 * ```ts
 * const images = await ImageEncoder.load('vit', { device: 'cuda' });
 * const { pixels } = await images.read(['a.jpg', 'b.png']);
 * await gradcache.step([pixels, model.tokenize(captions)]);
 * ```
 */
export class ImageEncoder extends ModuleEncoder<Tensor> {
  /** Length of a representation. */
  readonly dimension: number;
  /** Width and height of the pictures that the model takes. */
  readonly side: number;
  /** Pictures of a chunk: as many as take about a gigabyte with their graph in float32, at most 256. */
  override readonly automaticChunk: {
    /** Pictures in the encoder at once. */
    readonly sequences: number;
  };
  readonly #folder: PictureFolder;
  readonly #weights: TowerWeights;
  readonly #preprocessing: Preprocessing;
  readonly #precision: TowerPrecision;

  private constructor(
    own: symbol,
    folder: PictureFolder,
    tower: VisionTower,
    weights: TowerWeights,
    preprocessing: Preprocessing,
    precision: TowerPrecision,
  ) {
    if (own !== OWN) throw new GradCacheError('INPUT', 'ImageEncoder.load() makes an encoder, not new');
    super({
      forward: (pixels, { training } = { training: true }) =>
        weights.encode(scaled(pixels, preprocessing, precision, tower.side), training),
      parameters: () => weights.parameters,
    });
    this.dimension = tower.dimension;
    this.side = tower.side;
    this.automaticChunk = tower.chunk;
    this.#folder = folder;
    this.#weights = weights;
    this.#preprocessing = preprocessing;
    this.#precision = precision;
  }

  /**
   * Reads a folder of transformers with `model_type` vit, clip, siglip, clip_vision_model or siglip_vision_model, and its
   * preprocessor_config.json. A representation of ViT is the first row behind the last norm; of CLIP the projection of that,
   * where the folder has one; of SigLIP what its head pools.
   *
   * @throws GradCacheError `CHECKPOINT` for files that are damaged, missing or not supported; `INPUT`, `DEVICE`,
   * `CUDA_UNAVAILABLE`, `OUT_OF_MEMORY`; `HUB` for a model that cannot be fetched
   */
  static async load(name: string, options: TowerOptions = {}): Promise<ImageEncoder> {
    requireString('the model folder', name);
    checkTowerOptions('ImageEncoder.load', options);
    return ImageEncoder[OF_FOLDER](await readPictureFolder(name), options);
  }

  /**
   * Makes an encoder with random weights: normal with the configuration's `initializer_range` (0.02), biases 0, norms 1.
   * Pictures are prepared as is usual for its kind.
   *
   * @param config the content of a Hugging Face config.json with `model_type` vit, clip_vision_model or siglip_vision_model
   * @throws GradCacheError `CHECKPOINT` for a configuration that is not supported, `INPUT`
   */
  static create(
    config: Readonly<Record<string, unknown>>,
    options: NewImageEncoderOptions = {},
  ): ImageEncoder {
    checkTowerOptions('ImageEncoder.create', options, ['seed']);
    const { seed = 0, ...rest } = options;
    requireNumber('seed', seed, { from: 0, whole: true });
    requireConfig(config);
    const kind = newPictureFolder(config, {}).kind;
    const { preprocessing, stated } = usualPreprocessing(kind, patchesIn(config).side);
    const folder = newPictureFolder(config, stated);
    const tower = visionTower(kind, config, { projection: undefined, dropout: rest.dropout });
    const weights = new TowerWeights(
      tower,
      '',
      randomWeights(tower.shapes, initializerRange(config), seed),
      rest,
    );
    return new ImageEncoder(OWN, folder, tower, weights, preprocessing, rest.precision ?? 'float32');
  }

  /**
   * The tower of pictures of a folder that was read, or of a model that is made.
   *
   * @param usual how its pictures are prepared; default: as the folder says
   * @internal
   */
  static async [OF_FOLDER](
    folder: PictureFolder,
    options: TowerOptions,
    usual?: Preprocessing,
  ): Promise<ImageEncoder> {
    const { kind } = folder;
    const made = inFolder(folder.folder, () => {
      const config = towerPart(folder, 'vision_config');
      const projected = kind === 'clip' && folder.tensors.has('visual_projection.weight');
      const projection = projected
        ? countIn(folder.both ? folder.config : config, 'projection_dim', 512)
        : undefined;
      const tower = visionTower(kind, config, { projection, dropout: options.dropout });
      return { tower, side: patchesIn(config).side };
    });
    const preprocessing = usual ?? (await readPreprocessing(folder.folder, kind, made.side)).preprocessing;
    const weights = inFolder(
      folder.folder,
      () => new TowerWeights(made.tower, prefixOf(folder), folder.tensors, options),
    );
    const { precision = 'float32' } = options;
    return new ImageEncoder(OWN, folder, made.tower, weights, preprocessing, precision);
  }

  /**
   * Decodes and prepares pictures; sixteen and more on threads of their own, one for each processor but one, at most eight.
   *
   * @param paths of their files
   * @throws GradCacheError `INPUT` with the path of a picture that cannot be decoded, or where none can; `SETUP` without sharp
   */
  async read(paths: readonly string[], options: ReadPicturesOptions = {}): Promise<PictureBatch> {
    const { pixels, kept, bad } = await this[READ](paths, options);
    if (pixels !== null) return { pixels, kept, bad };
    throw new GradCacheError(
      'INPUT',
      paths.length === 0
        ? 'paths is empty: a picture is needed.'
        : `No picture can be decoded. The first: ${bad[0]!.message}`,
    );
  }

  /** @internal {@link ImageEncoder.read}, with null for pictures of which none can be decoded. */
  async [READ](
    paths: readonly string[],
    options: ReadPicturesOptions,
  ): Promise<Omit<PictureBatch, 'pixels'> & { readonly pixels: Tensor | null }> {
    requireTexts('paths', paths);
    checkKnown('read', options, ['onBadPicture']);
    const { onBadPicture = 'throw' } = options;
    requireOneOf('onBadPicture', onBadPicture, ['throw', 'skip']);
    const size = this.side ** 2;
    const values = new Uint8Array(paths.length * 3 * size);
    const kept: number[] = [];
    const bad: { path: string; message: string }[] = [];
    for await (const read of preparedPictures(paths, this.#preprocessing)) {
      if ('error' in read) {
        const { error, place } = read;
        if (onBadPicture === 'throw' || error.code !== 'INPUT') throw error;
        bad.push({ path: paths[place]!, message: error.message });
        continue;
      }
      const { points } = read;
      // From point by point to colour by colour.
      const begin = kept.length * 3 * size;
      for (let place = begin, k = 0; k < points.length; place++, k += 3) {
        values[place] = points[k]!;
        values[place + size] = points[k + 1]!;
        values[place + 2 * size] = points[k + 2]!;
      }
      kept.push(read.place);
    }
    if (kept.length === 0) return { pixels: null, kept, bad };
    const shape = [kept.length, 3, this.side, this.side];
    const pixels = Tensor.fromBytes(values.subarray(0, kept.length * 3 * size), {
      shape,
      dtype: 'uint8',
      device: this.device,
    });
    return { pixels, kept, bad };
  }

  /** The numbers that the model takes in place of a batch's points, [n, 3, height, width]. @throws GradCacheError `SHAPE` */
  prepared(pixels: Tensor): Tensor {
    return noGrad(() => scaled(pixels, this.#preprocessing, this.#precision, this.side));
  }

  /**
   * Representations [n, dimension] of pictures, without dropout, in their order.
   *
   * @param options.picturesPerChunk how many are encoded at a time. Default: 64
   * @param options.signal ends the work after a chunk
   * @throws GradCacheError as {@link ImageEncoder.read}; `OUT_OF_MEMORY`, `ABORTED`
   */
  async encode(
    paths: readonly string[],
    options: { picturesPerChunk?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<Tensor> {
    requireTexts('paths', paths);
    checkKnown('encode', options, ['picturesPerChunk', 'signal']);
    const { picturesPerChunk = 64, signal } = options;
    const chunks = { name: 'picturesPerChunk', count: picturesPerChunk, signal };
    return encodeInChunks(paths, chunks, async (some) => {
      const { pixels } = await this.read(some);
      try {
        return tidy(() => noGrad(() => this.#weights.encode(this.prepared(pixels), false)));
      } finally {
        pixels.dispose();
      }
    });
  }

  /**
   * Writes a folder as it was read, with the weights of now: transformers opens it.
   *
   * @throws GradCacheError `INPUT` when it cannot be written
   */
  async save(folder: string): Promise<void> {
    requireString('the model folder', folder);
    await (await this.snapshot()).save(folder);
  }

  /** Copies the weights to host memory, to be written while training goes on. */
  async snapshot(): Promise<ModelSnapshot> {
    const tensors = new Map(this.#folder.tensors);
    await this.#weights.storedInto(tensors);
    return { save: (folder) => writePictureFolder(folder, this.#folder, tensors) };
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

function requireConfig(config: unknown): void {
  if (!isJsonObject(config)) throw refused('config', config, 'an object, the content of a config.json,');
}

/** What the folder puts in front of the names of its tower. */
function prefixOf({ tensors, kind }: PictureFolder): string {
  const end = kind === 'vit' ? 'embeddings.cls_token' : 'embeddings.patch_embedding.weight';
  const found = [...tensors.keys()].find((name) => name.endsWith(end));
  return found?.slice(0, -end.length) ?? '';
}

/** Points from 0 to 255 as the model takes them. */
function scaled(
  pixels: Tensor,
  { factor, mean, deviation }: Preprocessing,
  precision: TowerPrecision,
  side: number,
): Tensor {
  const [, colours, height, width] = pixels.shape;
  if (pixels.shape.length !== 4 || colours !== 3 || height !== side || width !== side)
    throw new GradCacheError(
      'SHAPE',
      `pictures have shape [${pixels.shape.join()}], expected [n, 3, ${side}, ${side}]`,
    );
  const dtype = precision === 'float64' ? precision : 'float32';
  const colour = (values: readonly number[]) =>
    Tensor.from(values, { dtype, device: pixels.device }).reshape([1, 3, 1, 1]);
  const numbers = pixels.to({ dtype }).mul(factor).sub(colour(mean)).div(colour(deviation));
  return inType(numbers, precision);
}
