import { readFile } from 'node:fs/promises';
import { TextEncoder } from '../../encoders/text-encoder.js';
import { GradCacheError } from '../../errors.js';
import { fileError } from '../../files/file-error.js';
import { isJsonObject } from '../../files/strict-json.js';
import { chooseDevice } from '../../tensor/memory.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { FilledTrainConfig } from '../read-config.js';

/**
 * The text encoder that a run trains.
 *
 * @param checkpoint the folder that the run goes on from; null for the configuration's model
 */
export async function openModel(config: FilledTrainConfig, checkpoint: string | null): Promise<TextEncoder> {
  const { model, precision, maxLength, dropout, seed } = config;
  const options = { device: chooseDevice(config.device), precision, maxLength, dropout };
  if (checkpoint !== null) return TextEncoder.load(checkpoint, options);
  if (typeof model === 'string') return TextEncoder.load(model, options);
  const { config: given, tokenizer, pooling, normalize } = model;
  const architecture = typeof given === 'string' ? await readJson(given) : given;
  return TextEncoder.create(architecture, await Tokenizer.fromFile(tokenizer), {
    ...options,
    pooling,
    normalize,
    seed,
  });
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw fileError('INPUT', path, "read as a model's config", error);
  }
  if (isJsonObject(value)) return value;
  throw new GradCacheError('INPUT', `${path} holds no JSON object; a model's config is one.`);
}
