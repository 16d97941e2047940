import { TextEncoder } from '../../encoders/text-encoder.js';
import { readNamedObject } from '../../files/json-file.js';
import { kindOf } from '../../losses/loss-kinds.js';
import { hasModules } from '../../model-folder/sentence-modules.js';
import { chooseDevice } from '../../tensor/memory.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { FilledTrainConfig } from '../read-config.js';

/**
 * The text encoder that a run trains. A loss of sparse representations makes it a sparse one where its folder does not say
 * what becomes of the tokens, as that of a masked language model.
 *
 * @param checkpoint the folder that the run goes on from; null for the configuration's model
 */
export async function openModel(config: FilledTrainConfig, checkpoint: string | null): Promise<TextEncoder> {
  const { model, precision, maxLength, dropout, frozen, seed, lateInteraction } = config;
  const options = { device: chooseDevice(config.device), precision, maxLength, dropout, frozen };
  if (checkpoint !== null) return TextEncoder.load(checkpoint, options);
  const { projection, ...interaction } = lateInteraction ?? {};
  const perToken = {
    ...(projection !== undefined && { projection }),
    ...(lateInteraction !== undefined && { lateInteraction: interaction }),
    seed,
  };
  if (typeof model === 'string') {
    const pooling = config.pooling ?? (await poolingFor(config, model));
    return TextEncoder.load(model, { ...options, ...perToken, ...(pooling !== undefined && { pooling }) });
  }
  const { config: given, tokenizer, pooling, normalize } = model;
  const architecture = typeof given === 'string' ? await readNamedObject(given, "a model's config") : given;
  return TextEncoder.create(architecture, await Tokenizer.fromFile(tokenizer), {
    ...options,
    ...perToken,
    ...(pooling !== undefined && { pooling }),
    ...(normalize !== undefined && { normalize }),
  });
}

/** What a loss makes of a folder that does not say how its model pools. */
async function poolingFor({ loss }: FilledTrainConfig, folder: string): Promise<'splade' | undefined> {
  return kindOf(loss).sparse === true && !(await hasModules(folder)) ? 'splade' : undefined;
}
