/*
 * A run whose model has a tower of pictures and one of captions, CLIP or SigLIP, or that trains a model of pictures beside a text
 * encoder: what the models say of settings that are not given.
 */
import { join } from 'node:path';
import { imageModelIn } from '../images/image-text-pair.js';
import { hasBothTowers, isOfPicturesAlone } from '../images/picture-folder.js';
import { scoreNumbersIn, usualScoreNumbers } from '../images/score-numbers.js';
import { readJsonObject, readNamedObject } from '../files/json-file.js';
import { isJsonObject } from '../files/strict-json.js';
import { DEFAULT_LOSS } from '../losses/loss-kinds.js';
import { SettingError } from '../options/fields.js';
import { show } from '../options/option-values.js';
import { OBJECT } from './objects.js';

type Settings = Readonly<Record<string, unknown>>;

/** Where the temperature of two models begins that were not trained together: that of CLIP. */
const FIRST_TEMPERATURE = 0.07;

/** The column of paths where neither it nor columns are named. */
const USUAL_IMAGES = 'image';

/**
 * Settings of a new run, filled in with what the model says where it has a tower of pictures: which column has their paths, and
 * the loss with its temperature and bias. Of any other model, the settings as they are.
 *
 * @throws GradCacheError `INPUT` where `images` is given and the model is none of pictures; `CHECKPOINT`
 */
export async function withModelOfPictures<Given extends Settings>(
  settings: Given,
): Promise<Given | Settings> {
  const { model, images, columns, loss } = settings;
  const imageModel = settings['imageModel'] ?? besideTexts(settings);
  const config = await configOf(model);
  const [first] = Array.isArray(columns) ? (columns as unknown[]) : [columns];
  if (config !== null && isOfPicturesAlone(config))
    throw new SettingError(
      'config.model',
      `is of model_type ${show(config['model_type'])}, a model of pictures alone: name it as imageModel (--image-model), and a text ` +
        'encoder as model (--model).',
    );
  if (imageModel !== null) {
    await requireOfPictures(settings['imageModel'] ?? null);
    if (config !== null && hasBothTowers(config))
      throw new SettingError(
        'config.imageModel',
        `is ${show(imageModel)}, and the model is of model_type ${show(config['model_type'])}, which has a tower of pictures: leave ` +
          'it out, or give a text encoder as model (--model).',
      );
    const usual = () => ({ temperature: FIRST_TEMPERATURE, bias: null });
    const own = { imageModel, images: images ?? first ?? USUAL_IMAGES };
    return { ...settings, ...own, loss: await lossFor(false, loss, usual) };
  }
  if (config === null || !hasBothTowers(config)) {
    if ((images ?? null) === null) return settings;
    const found =
      config === null ? 'no folder with a config.json' : `of model_type ${show(config['model_type'])}`;
    throw new SettingError(
      'config.images',
      `is ${show(images)}, a column of pictures, and the model is ${found}: a model with both towers, of model_type "clip" or ` +
        '"siglip", is needed, or a model of pictures beside it (imageModel, --image-model).',
    );
  }
  return {
    ...settings,
    images: images ?? first ?? USUAL_IMAGES,
    loss: await lossFor(config['model_type'] === 'siglip', loss, () =>
      typeof model === 'string' ? scoreNumbersIn(model) : usualScoreNumbers(config),
    ),
  };
}

/** @param imageModel the model of pictures that is named; null: none @throws SettingError for a folder of another kind */
async function requireOfPictures(imageModel: unknown): Promise<void> {
  const config = typeof imageModel === 'string' ? await configOf(imageModel) : null;
  if (config === null || hasBothTowers(config) || isOfPicturesAlone(config)) return;
  throw new SettingError(
    'config.imageModel',
    `is ${show(imageModel)}, of model_type ${show(config['model_type'])}; a model of pictures is needed, such as a ViT or the tower of a CLIP.`,
  );
}

/** The model of pictures in the folder of a text model; null: there is none, or a run without pictures is asked for. */
function besideTexts({ model, images }: Settings): string | null {
  if (typeof model !== 'string' || model === OBJECT || images === null) return null;
  return imageModelIn(model);
}

/** The content of a model's config.json; null where there is none to read, which opening the model tells. */
async function configOf(model: unknown): Promise<Settings | null> {
  if (typeof model === 'string')
    return model === OBJECT ? null : ((await readJsonObject(join(model, 'config.json'))) ?? null);
  const given = isJsonObject(model) ? model['config'] : null;
  if (typeof given === 'string') return readNamedObject(given, "a model's config");
  return isJsonObject(given) ? given : null;
}

/** What a loss is where the user does not say: that which the model was made by, from the numbers that the model has. */
async function lossFor(
  sigmoid: boolean,
  given: unknown,
  numbers: () =>
    Promise<{ temperature: number; bias: number | null }> | { temperature: number; bias: number | null },
): Promise<unknown> {
  const asked = given ?? {};
  if (!isJsonObject(asked)) return given; // an own loss, or what is refused
  const kind = asked['kind'] ?? (sigmoid ? 'siglip' : DEFAULT_LOSS);
  if (kind === 'siglip' && sigmoid) {
    const { temperature, bias } = await numbers();
    return { scale: 1 / temperature, ...(bias !== null && { bias }), ...asked, kind };
  }
  if (kind !== 'infonce') return given;
  const ways = asked['directions'] ?? asked['partitionMode'];
  const symmetric = ways === undefined && { symmetric: true };
  if (typeof asked['temperature'] === 'number') return { learned: true, ...symmetric, ...asked, kind };
  const { temperature } = await numbers();
  // Models are trained up to a hundredth, and some are a little beyond.
  const within = temperature >= 0.01 && temperature <= 1;
  const temperatureBounds = [Math.min(0.01, temperature), Math.max(1, temperature)];
  return {
    ...{ temperature, learned: true },
    ...(!within && asked['learned'] !== false && { temperatureBounds }),
    ...symmetric,
    ...asked,
    kind,
  };
}
