import { CrossEncoder } from '../../encoders/cross-encoder.js';
import { RoutedEncoder } from '../../encoders/routed-encoder.js';
import { TextEncoder } from '../../encoders/text-encoder.js';
import { readNamedObject } from '../../files/json-file.js';
import { kindOf } from '../../losses/loss-kinds.js';
import { NoHead } from '../../model-folder/no-head.js';
import { hasModules, hasRouter } from '../../model-folder/sentence-modules.js';
import { SettingError } from '../../options/fields.js';
import { chooseDevice } from '../../tensor/memory.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { NewModel } from '../config.js';
import type { FilledTrainConfig } from '../read-config.js';

/**
 * The text encoder that a run trains; or two, of a folder with a Router: the first column is of queries, the others of documents. A loss of sparse representations makes it a sparse one where its folder does not say
 * what becomes of the tokens, as that of a masked language model.
 *
 * @param checkpoint the folder that the run goes on from; null for the configuration's model
 */
export async function openModel(
  config: FilledTrainConfig,
  checkpoint: string | null,
): Promise<TextEncoder | RoutedEncoder> {
  const folder = checkpoint ?? config.model;
  if (typeof folder !== 'string' || !(await hasRouter(folder))) return openTextEncoder(config, checkpoint);
  refuseWithRouter(config);
  return RoutedEncoder.load(folder, optionsOf(config));
}

/** The same for a model without a Router. */
export async function openTextEncoder(
  config: FilledTrainConfig,
  checkpoint: string | null,
): Promise<TextEncoder> {
  const { model, seed, lateInteraction, adaptiveLayer } = config;
  const options = { ...optionsOf(config), ...(adaptiveLayer && { layers: adaptiveLayer.layers }) };
  if (checkpoint !== null) return TextEncoder.load(checkpoint, options);
  const { projection, ...interaction } = lateInteraction ?? {};
  const perToken = {
    ...(projection !== undefined && { projection }),
    ...(lateInteraction !== undefined && { lateInteraction: interaction }),
    seed,
  };
  if (typeof model === 'string') {
    const pooling = config.pooling ?? (await poolingFor(config, model));
    const { lora } = config;
    return TextEncoder.load(model, {
      ...options,
      ...perToken,
      ...(lora !== undefined && { lora }),
      ...(pooling !== undefined && { pooling }),
    });
  }
  const { config: given, tokenizer, pooling, normalize } = model;
  const architecture = await architectureIn(given);
  // Word vectors take a text without tokens around it.
  const specialTokens = architecture.model_type !== 'static';
  return TextEncoder.create(architecture, await Tokenizer.fromFile(tokenizer, { specialTokens }), {
    ...options,
    ...perToken,
    ...(pooling !== undefined && { pooling }),
    ...(normalize !== undefined && { normalize }),
  });
}

/** What has no meaning, or none yet, for two encoders. @throws SettingError */
function refuseWithRouter(config: FilledTrainConfig): void {
  for (const name of ['lora', 'adaptiveLayer', 'memory', 'pooling', 'lateInteraction'] as const)
    if (config[name] !== undefined)
      throw new SettingError(
        `config.${name}`,
        'is given, and the model has a Router, whose two encoders are trained as they are: leave it out.',
      );
}

/** What a loss makes of a folder that does not say how its model pools. */
async function poolingFor({ loss }: FilledTrainConfig, folder: string): Promise<'splade' | undefined> {
  return kindOf(loss).sparse === true && !(await hasModules(folder)) ? 'splade' : undefined;
}

/**
 * The cross-encoder that a run trains.
 *
 * @param checkpoint the folder that the run goes on from; null for the configuration's model
 */
export async function openCrossEncoder(
  config: FilledTrainConfig,
  checkpoint: string | null,
): Promise<CrossEncoder> {
  const { model, seed, newHead: labels } = config;
  const options = optionsOf(config);
  if (checkpoint !== null) return CrossEncoder.load(checkpoint, options);
  if (typeof model === 'string') {
    const head = labels && { newHead: { labels, seed } };
    return CrossEncoder.load(model, { ...options, ...head }).catch((error: unknown) => {
      throw error instanceof NoHead && labels === undefined ? needsHead(model) : error;
    });
  }
  const { config: given, tokenizer } = model;
  return CrossEncoder.create(await architectureIn(given), await Tokenizer.fromFile(tokenizer), {
    ...options,
    labels,
    seed,
  });
}

const needsHead = (model: string): SettingError =>
  new SettingError(
    'config.newHead',
    `is not given, and ${model} has no head for pairs. Give the number of labels of a new one, 1 for scores, or take a cross-encoder ` +
      'as model.',
  );

function optionsOf(config: FilledTrainConfig) {
  const { precision, maxLength, dropout, frozen, embeddingGradients } = config;
  const weights: 'float32' | 'bfloat16' = config.masterWeights === 'device' ? 'float32' : 'bfloat16';
  return {
    ...{ device: chooseDevice(config.device), precision, maxLength, dropout, frozen },
    ...{ embeddingGradients, weights },
  };
}

/** The content of a config.json that is given, or whose path is. */
async function architectureIn(given: NewModel['config']): Promise<Readonly<Record<string, unknown>>> {
  return typeof given === 'string' ? readNamedObject(given, "a model's config") : given;
}
