import { TextEncoder } from '../encoders/text-encoder.js';
import { SettingError } from '../options/fields.js';
import { chooseDevice } from '../tensor/memory.js';
import { type Arguments, type Flags, number, text, UsageError } from './flags.js';
import type { ProgressLine } from './terminal.js';

/** Flags of the commands that use a finished model. */
export const MODEL_FLAGS = {
  model: text('FOLDER', 'model folder, of transformers or sentence-transformers'),
  device: text('DEVICE', 'cpu, cuda, cuda:1 or auto (default)'),
  precision: text('TYPE', 'float32 (default), bfloat16 or float64'),
  'max-length': number('TOKENS', 'tokens of a text, special ones included; longer texts are cut'),
} as const satisfies Flags;

/** Loads the model that the flags name, and says where. */
export async function openModel(args: Arguments, progress: ProgressLine): Promise<TextEncoder> {
  const folder = args.required('model', MODEL_FLAGS.model);
  const precision = args.oneOf('precision', ['float32', 'bfloat16', 'float64']) ?? 'float32';
  const maxLength = args.count('max-length');
  const device = chooseDevice(args.device());
  const model = await TextEncoder.load(folder, { device, precision, maxLength }).catch((error: unknown) => {
    throw error instanceof SettingError && error.path === 'maxLength'
      ? new UsageError(`--max-length ${error.problem}`)
      : error;
  });
  progress.say(`${folder} in ${precision} on ${model.device}`);
  return model;
}
