/*
 * Models of pictures and captions in the commands that use a finished model.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { dataFiles } from '../data/data-files.js';
import { onEach } from '../distributed/shared-work.js';
import { RoutedEncoder } from '../encoders/routed-encoder.js';
import type { TextEncoderOptions } from '../encoders/text-encoder.js';
import type { Windows } from '../encoders/long-texts.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import type { EncodesTexts } from '../evaluation/encode-texts.js';
import { sharedEncoder, sharedRows } from '../evaluation/shared-encoder.js';
import { readJsonObject } from '../files/json-file.js';
import { ImageEncoder } from '../images/image-encoder.js';
import { ImageTextModel } from '../images/image-text-model.js';
import { ImageTextPair, imageModelIn } from '../images/image-text-pair.js';
import { hasBothTowers, isOfPicturesAlone } from '../images/picture-folder.js';
import { TOWER_PRECISIONS, type TowerOptions } from '../images/tower-weights.js';
import { show } from '../options/option-values.js';
import { chooseDevice } from '../tensor/memory.js';
import type { Tensor } from '../tensor/tensor.js';
import { folderOfHeldOut, folderOfPictures } from '../training/picture-paths.js';
import { type Arguments, UsageError } from './flags.js';
import { refuseFlags } from './evaluate-flags.js';
import { locateModel } from './hub.js';
import { WINDOW_FLAGS, withWindows } from './window-flags.js';
import { loadEncoder, MODEL_FLAGS, needsRoute, openWith, type OpenedEncoder, type Opening } from './model.js';

/** Flags of texts that towers of pictures and captions take none of. */
const OF_TEXTS = [
  'route',
  'max-length',
  'prompt',
  'prompt-text',
  'as',
  'chunk-tokens',
  'query-prompt',
  'query-prompt-text',
  ...WINDOW_FLAGS,
];

/** A tower as `embed` uses a text encoder. */
export interface Tower {
  readonly dimension: number;
  readonly prompts: Readonly<Record<string, string>>;
  readonly encoder: EncodesTexts;
  dispose(): void;
}

/** The files that paths in a file of paths name, or in the files of a folder or pattern. */
export function picturesBeside(file: string, paths: readonly string[]): string[] {
  const folder = folderOfHeldOut(file);
  return paths.map((path) => resolve(folder, path));
}

/**
 * Refuses texts that are paths of files, where the folder of the model has a model of pictures too: it opens as its text model, which
 * would read them as words.
 *
 * @param data the file of the rows
 * @param row a row of it: the texts of its columns
 * @param instead what to do
 * @throws UsageError
 */
export function refusePicturePaths(
  folder: string,
  data: string,
  row: Readonly<Record<string, string | undefined>>,
  instead: (column: string) => string,
): void {
  if (imageModelIn(folder) === null) return;
  const folders = new Set(dataFiles([data]).map((file) => folderOfPictures([file])));
  const isFile = (text: string | undefined): boolean =>
    text !== undefined && [...folders].some((beside) => existsSync(resolve(beside, text)));
  const column = Object.keys(row).find((name) => isFile(row[name]));
  if (column === undefined) return;
  throw new UsageError(
    `--data is ${data}, whose column ${show(column)} has paths of files, and they would be read as texts: ${instead(column)}`,
  );
}

/** Opens CLIP or SigLIP as the flags name it, or a text encoder with a model of pictures, and says where. */
export function openImageText(args: Arguments, how: Opening): Promise<ImageTextModel | ImageTextPair> {
  return open<ImageTextModel | ImageTextPair>(args, how, async (folder, options) => {
    if (imageModelIn(folder) !== null) return ImageTextPair.load(folder, options);
    await requireTowers(
      folder,
      hasBothTowers,
      'of a model that has captions too: CLIP, SigLIP, or a text encoder that gradcache train --image-model has trained beside one of pictures',
    );
    return ImageTextModel.load(folder, options);
  });
}

/**
 * The tower of pictures of a model.
 *
 * @param file that the paths are read from
 */
export async function openPictureTower(args: Arguments, how: Opening, file: string): Promise<Tower> {
  const model = await open(args, how, async (folder, options) => {
    const images = imageModelIn(folder);
    if (images === null)
      await requireTowers(
        folder,
        (config) => hasBothTowers(config) || isOfPicturesAlone(config),
        'of a model of pictures: a ViT, CLIP, SigLIP, or what gradcache train --image-model has trained',
      );
    return ImageEncoder.load(images ?? folder, options);
  });
  return towerOf(model, how, (paths, signal) => model.encode(picturesBeside(file, paths), { signal }));
}

/** @throws UsageError for a model that has no such towers; what is no folder of a model is told where it is opened */
async function requireTowers(
  folder: string,
  has: (config: Readonly<Record<string, unknown>>) => boolean,
  needed: string,
): Promise<void> {
  const config = await readJsonObject(join(folder, 'config.json'));
  if (config === undefined || has(config)) return;
  throw new UsageError(
    `--images is for pictures ${needed}. --model is ${folder}, of model_type ${show(config['model_type'])}: leave --images out, or name ` +
      'another model.',
  );
}

/**
 * A text encoder, or the tower of captions of CLIP or SigLIP: the folder says which.
 *
 * @param task what the texts are, for a folder with a Router
 * @param windows how texts are read that are too long
 */
export async function openTextTower(
  args: Arguments,
  how: Opening,
  task: TextTask | undefined,
  windows: Windows | undefined,
): Promise<Tower> {
  const model = await openWith<OpenedEncoder | Captions>(args, how, async (folder, options) => {
    const config = await readJsonObject(join(folder, 'config.json'));
    return config !== undefined && hasBothTowers(config)
      ? Captions.load(args, folder, options)
      : loadEncoder(args, folder, options, task);
  });
  if (model instanceof Captions) return towerOf(model, how, (texts, signal) => model.encode(texts, signal));
  if (model instanceof RoutedEncoder) {
    model.dispose();
    throw needsRoute(', or --as');
  }
  const { dimension, prompts } = model;
  try {
    if (model.perToken)
      throw new UsageError(
        '--model has a representation for each token, and embed writes one vector a text: gradcache evaluate --task retrieval measures ' +
          'such a model.',
      );
    const encoder = sharedEncoder(withWindows(model, windows), how.ranks);
    return { dimension, prompts, encoder, dispose: () => model.dispose() };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** The tower of captions, as a model that is opened for its texts. */
class Captions {
  private constructor(readonly model: ImageTextModel) {}

  static async load(args: Arguments, folder: string, { device }: TextEncoderOptions): Promise<Captions> {
    refuseFlags(args, OF_TEXTS, 'is for models of texts alone');
    return new Captions(await ImageTextModel.load(folder, { device, precision: precisionOf(args) }));
  }

  get device(): string {
    return this.model.captions.device;
  }

  get dimension(): number {
    return this.model.captions.dimension;
  }

  get maxLength(): number {
    return this.model.captions.maxLength;
  }

  get statedMaxLength(): number {
    return this.maxLength;
  }

  encode(texts: readonly string[], signal: AbortSignal | undefined): Promise<Tensor> {
    return this.model.captions.encode(texts, { signal });
  }

  dispose(): void {
    this.model.dispose();
  }
}

/** @throws UsageError for a precision that towers of pictures and captions do not compute in */
const precisionOf = (args: Arguments) => args.oneOf('precision', TOWER_PRECISIONS) ?? 'float32';

function towerOf(
  model: { readonly dimension: number; dispose(): void },
  { ranks }: Opening,
  encodeAll: (given: readonly string[], signal: AbortSignal | undefined) => Promise<Tensor>,
): Tower {
  const encode: EncodesTexts['encode'] = async (given, { dimensions, signal } = {}) => {
    const whole = await sharedRows(given, ranks, (own) => encodeAll(own, signal));
    if (dimensions === undefined) return whole;
    const cut = whole.narrow(1, 0, dimensions).clone();
    whole.dispose();
    return cut;
  };
  return { dimension: model.dimension, prompts: {}, encoder: { encode }, dispose: () => model.dispose() };
}

async function open<Model extends { dispose(): void }>(
  args: Arguments,
  { progress, signal, ranks }: Opening,
  load: (folder: string, options: TowerOptions) => Promise<Model>,
): Promise<Model> {
  refuseFlags(args, OF_TEXTS, 'is for models of texts alone');
  const given = args.required('model', MODEL_FLAGS.model);
  const precision = precisionOf(args);
  const device = ranks?.device ?? chooseDevice(args.device());
  let model: Model | undefined;
  try {
    await onEach(ranks, 'opening the model', async () => {
      model = await load(await locateModel(given, progress, signal), { device, precision });
    });
  } catch (error) {
    model?.dispose();
    throw error;
  }
  progress.say(
    `${given} in ${precision} on ${ranks === null ? device : `${ranks.size} × ${device.split(':')[0]}`}`,
  );
  return model!;
}
