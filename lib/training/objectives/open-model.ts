import { TextEncoder } from '../../encoders/text-encoder.js';
import { readNamedObject } from '../../files/json-file.js';
import { chooseDevice } from '../../tensor/memory.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { FilledTrainConfig } from '../read-config.js';

/**
 * The text encoder that a run trains.
 *
 * @param checkpoint the folder that the run goes on from; null for the configuration's model
 */
export async function openModel(config: FilledTrainConfig, checkpoint: string | null): Promise<TextEncoder> {
  const { model, precision, maxLength, dropout, frozen, seed } = config;
  const options = { device: chooseDevice(config.device), precision, maxLength, dropout, frozen };
  if (checkpoint !== null) return TextEncoder.load(checkpoint, options);
  if (typeof model === 'string') return TextEncoder.load(model, options);
  const { config: given, tokenizer, pooling, normalize } = model;
  const architecture = typeof given === 'string' ? await readNamedObject(given, "a model's config") : given;
  return TextEncoder.create(architecture, await Tokenizer.fromFile(tokenizer), {
    ...options,
    pooling,
    normalize,
    seed,
  });
}
