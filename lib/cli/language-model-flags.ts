import { loadTextModel, type TextModel } from '../language/text-model.js';
import { chooseDevice } from '../tensor/memory.js';
import { text, type Arguments, type Flags } from './flags.js';

const model = text('FOLDER', 'language model, as language train leaves it');

/** Flags of commands that open a language model. */
export const LANGUAGE_MODEL_FLAGS = {
  model,
  device: text('DEVICE', 'cpu, cuda, cuda:1 or auto (default)'),
  precision: text('TYPE', 'float32 (default), bfloat16 or float64'),
} as const satisfies Flags;

/** Loads the language model that the flags name. @throws UsageError for a model that is missing, or a type that is none */
export async function openLanguageModel(args: Arguments): Promise<TextModel> {
  const folder = args.required('model', model);
  const precision = args.oneOf('precision', ['float32', 'bfloat16', 'float64']) ?? 'float32';
  return loadTextModel(folder, { device: chooseDevice(args.device()), precision });
}
