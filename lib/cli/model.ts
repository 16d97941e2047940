import type { Ranks } from '../distributed/ranks.js';
import { beyondCard } from '../encoders/beyond-card.js';
import { CrossEncoder } from '../encoders/cross-encoder.js';
import { TextEncoder, type TextEncoderOptions } from '../encoders/text-encoder.js';
import { onEach } from '../distributed/shared-work.js';
import { isCrossEncoderFolder } from '../model-folder/is-cross-encoder-folder.js';
import { SettingError } from '../options/fields.js';
import { chooseDevice } from '../tensor/memory.js';
import { type Arguments, type Flags, number, text, UsageError } from './flags.js';
import { locateModel } from './hub.js';
import type { ProgressLine } from './terminal.js';

/** Flags of the commands that use a finished model. */
export const MODEL_FLAGS = {
  model: text(
    'FOLDER|NAME',
    'model folder, of transformers or sentence-transformers; or OWNER/NAME of the hub',
  ),
  device: text('DEVICE', 'cpu, cuda, cuda:1 or auto (default)'),
  precision: text('TYPE', 'float32 (default), bfloat16, float64, or on a GPU tf32'),
  'max-length': number('TOKENS', 'tokens of a text, special ones included; longer texts are cut'),
} as const satisfies Flags;

/** The flag of commands that compare or write representations. */
export const DIMENSIONS_FLAG = {
  dimensions: number('N', 'numbers of a representation to use, from the first on; default: all'),
} as const satisfies Flags;

/** How many numbers of a model's representations are asked for. @throws UsageError for more than it has */
export function dimensionsOf(args: Arguments, model: TextEncoder): number | undefined {
  const dimensions = args.count('dimensions');
  if (dimensions === undefined || dimensions <= model.dimension) return dimensions;
  throw new UsageError(
    `--dimensions is ${dimensions}, and the model's representations have ${model.dimension}; a whole number from 1 to that is needed.`,
  );
}

/** How a model is opened. */
export interface Opening {
  readonly progress: ProgressLine;
  readonly signal: AbortSignal;
  readonly ranks: Ranks | null;
}

/** Loads the text encoder that the flags name, and says where. */
export function openModel(args: Arguments, how: Opening): Promise<TextEncoder> {
  return open(args, how, (folder, options) => TextEncoder.load(folder, options));
}

/** Loads the cross-encoder that the flags name, and says where. */
export function openCrossEncoder(args: Arguments, how: Opening): Promise<CrossEncoder> {
  return open(args, how, (folder, options) => CrossEncoder.load(folder, options));
}

/** Loads the model that the flags name, of either kind: its folder says which. */
export function openServable(args: Arguments, how: Opening): Promise<TextEncoder | CrossEncoder> {
  return open<TextEncoder | CrossEncoder>(args, how, async (folder, options) =>
    (await isCrossEncoderFolder(folder))
      ? CrossEncoder.load(folder, options)
      : TextEncoder.load(folder, options),
  );
}

/** What is common to the models that are opened. */
interface Encoder {
  readonly device: string;
  readonly maxLength: number;
  readonly statedMaxLength: number;
  dispose(): void;
}

/** Every rank loads the model. */
async function open<Model extends Encoder>(
  args: Arguments,
  { progress, signal, ranks }: Opening,
  load: (folder: string, options: TextEncoderOptions) => Promise<Model>,
): Promise<Model> {
  const given = args.required('model', MODEL_FLAGS.model);
  const precision = args.oneOf('precision', ['float32', 'bfloat16', 'float64', 'tf32']) ?? 'float32';
  const maxLength = args.count('max-length');
  args.count('dimensions'); // a wrong one is told before the model is loaded
  const device = ranks?.device ?? chooseDevice(args.device());
  let model: Model | undefined;
  try {
    await onEach(ranks, 'opening the model', async () => {
      const folder = await locateModel(given, progress, signal);
      model = await load(folder, { device, precision, maxLength });
    });
  } catch (error) {
    model?.dispose();
    throw error instanceof SettingError && error.path === 'maxLength'
      ? new UsageError(`--max-length ${error.problem}`)
      : error;
  }
  const where = ranks === null ? model!.device : `${ranks.size} × ${ranks.device.split(':')[0]}`;
  progress.say(`${given} in ${precision} on ${where}`);
  for (const note of beyondCard(model!)) progress.say(note);
  return model!;
}
