import { join } from 'node:path';
import { ImageEncoder } from '../../images/image-encoder.js';
import { ImageTextPair, ONE_LENGTH } from '../../images/image-text-pair.js';
import type { TowerPrecision } from '../../images/tower-weights.js';
import { IMAGE_MODEL } from '../../hub/model-files.js';
import { SettingError } from '../../options/fields.js';
import { show } from '../../options/option-values.js';
import { chooseDevice } from '../../tensor/memory.js';
import type { FilledTrainConfig } from '../read-config.js';
import { freezeNamed } from './freeze-named.js';
import { openTextEncoder } from './open-model.js';

/** What towers of pictures compute in. The configuration was checked to have one of these. */
export const towerPrecision = (precision: FilledTrainConfig['precision']): TowerPrecision =>
  precision === 'tf32' ? 'float32' : precision;

/**
 * A text encoder and a model of pictures of its own folder, which a run trains together.
 *
 * @param imageModel the folder of the model of pictures
 * @param checkpoint the folder that the run goes on from; null for the configuration's models
 * @throws GradCacheError `INPUT` for models whose representations have other lengths, and for parameters that are not there
 */
export async function openPair(
  config: FilledTrainConfig,
  imageModel: string,
  checkpoint: string | null,
): Promise<ImageTextPair> {
  const { device, precision, dropout, frozen = [] } = config;
  const places = [...frozen.keys()];
  const isOfImages = (place: number): boolean => /^image_model(\.|$)/.test(frozen[place]!);
  const ofTexts = places.filter((place) => !isOfImages(place)).map((place) => frozen[place]!);
  const captions = await openTextEncoder({ ...config, frozen: ofTexts }, checkpoint);
  let images: ImageEncoder | undefined;
  try {
    images = await ImageEncoder.load(checkpoint === null ? imageModel : join(checkpoint, IMAGE_MODEL), {
      device: chooseDevice(device),
      precision: towerPrecision(precision),
      dropout,
    });
    if (images.dimension !== captions.dimension)
      throw new SettingError(
        'config.imageModel',
        `is ${show(imageModel)}, with representations of ${images.dimension} numbers, and those of model have ${captions.dimension}; ${ONE_LENGTH}`,
      );
    const parameters = images
      .parameters()
      .map(({ name, ...rest }) => ({ name: `${IMAGE_MODEL}.${name}`, ...rest }));
    freezeNamed(parameters, frozen, places.filter(isOfImages));
    if (captions.parameters().length === 0 && parameters.every(({ tensor }) => !tensor.requiresGrad))
      throw new SettingError(
        'config.frozen',
        'names every parameter of both models: nothing is left to train.',
      );
    return new ImageTextPair(images, captions);
  } catch (error) {
    images?.dispose();
    captions.dispose();
    throw error;
  }
}
