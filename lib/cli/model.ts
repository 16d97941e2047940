import type { Ranks } from '../distributed/ranks.js';
import { beyondCard } from '../encoders/beyond-card.js';
import { CrossEncoder } from '../encoders/cross-encoder.js';
import { RoutedEncoder } from '../encoders/routed-encoder.js';
import { TextEncoder, type TextEncoderOptions } from '../encoders/text-encoder.js';
import { onEach } from '../distributed/shared-work.js';
import { IMAGE_MODEL } from '../hub/model-files.js';
import { imageModelIn } from '../images/image-text-pair.js';
import { isCrossEncoderFolder } from '../model-folder/is-cross-encoder-folder.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import { hasRouter } from '../model-folder/sentence-modules.js';
import { SettingError } from '../options/fields.js';
import { chooseDevice } from '../tensor/memory.js';
import { type Arguments, type Flags, number, text, UsageError } from './flags.js';
import { locateModel } from './hub.js';
import type { ProgressLine } from './terminal.js';

const TASKS = ['query', 'document'] as const;

/** Flags of the commands that use a finished model. */
export const MODEL_FLAGS = {
  model: text(
    'FOLDER|NAME',
    'model folder, of transformers or sentence-transformers; or OWNER/NAME of the hub',
  ),
  device: text('DEVICE', 'cpu, cuda, cuda:1 or auto (default)'),
  precision: text('TYPE', 'float32 (default), bfloat16, float64, or on a GPU tf32'),
  'max-length': number('TOKENS', 'tokens of a text, special ones included; longer texts are cut'),
  route: text(
    'TASK',
    'query or document: one of the two models of a folder with a Router; default: both, each for its texts',
  ),
} as const satisfies Flags;

/** The flag of commands that compare or write representations. */
export const DIMENSIONS_FLAG = {
  dimensions: number('N', 'numbers of a representation to use, from the first on; default: all'),
} as const satisfies Flags;

/** How many numbers of a model's representations are asked for. @throws UsageError for more than it has */
export function dimensionsOf(args: Arguments, model: Pick<TextEncoder, 'dimension'>): number | undefined {
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
  /** The flag of its length limit, for messages. Default: `--max-length`. */
  readonly lengthFlag?: string;
  /** Told of the model's folder before it is opened; may throw. */
  readonly look?: (folder: string) => void;
}

/** A text encoder; or two, of a folder with a Router. */
export type OpenedEncoder = TextEncoder | RoutedEncoder;

/**
 * Loads the text encoder that the flags name, and says where. Of a folder with a Router that is both of its models, unless one is
 * asked for.
 *
 * @param task what all texts are, if that is known: then the model of the other ones is not needed
 */
export function openModel(args: Arguments, how: Opening, task?: TextTask): Promise<OpenedEncoder> {
  return openWith(args, how, (folder, options) => {
    tellOfPictures(folder, how);
    return loadEncoder(args, folder, options, task);
  });
}

/** A text encoder of a folder, or two of one with a Router. */
export async function loadEncoder(
  args: Arguments,
  folder: string,
  options: TextEncoderOptions,
  task?: TextTask,
): Promise<OpenedEncoder> {
  const asked = args.oneOf('route', TASKS);
  const routed = await hasRouter(folder);
  if (asked !== undefined && !routed)
    throw new UsageError(`--route is ${asked}, and ${folder} has no Router: leave it out.`);
  const route = asked ?? task;
  if (!routed) return TextEncoder.load(folder, options);
  return route === undefined
    ? RoutedEncoder.load(folder, options)
    : TextEncoder.load(folder, { ...options, route });
}

/** Loads the cross-encoder that the flags name, and says where. */
export function openCrossEncoder(args: Arguments, how: Opening): Promise<CrossEncoder> {
  refuseRoute(args);
  return openWith(args, how, (folder, options) => CrossEncoder.load(folder, options));
}

/** Loads the model that the flags name, of either kind: its folder says which. */
export function openEither(args: Arguments, how: Opening): Promise<OpenedEncoder | CrossEncoder> {
  return openWith<OpenedEncoder | CrossEncoder>(args, how, async (folder, options) => {
    if (!(await isCrossEncoderFolder(folder))) {
      tellOfPictures(folder, how);
      return loadEncoder(args, folder, options);
    }
    refuseRoute(args);
    return CrossEncoder.load(folder, options);
  });
}

/** A folder of two models opens as its text model: that the other one is left out is told. */
function tellOfPictures(folder: string, { progress }: Opening): void {
  if (imageModelIn(folder) === null) return;
  progress.say(
    `${folder} has a model of pictures too (${IMAGE_MODEL}), which is not used here: all that is read are texts. ` +
      'gradcache evaluate --images and gradcache embed --images use it',
  );
}

/** The same for a model that is served: of a folder with a Router it is one of its two. */
export async function openServable(args: Arguments, how: Opening): Promise<TextEncoder | CrossEncoder> {
  const model = await openEither(args, how);
  if (!(model instanceof RoutedEncoder)) return model;
  model.dispose();
  throw needsRoute();
}

/** @throws UsageError for a cross-encoder, which has no routes */
function refuseRoute(args: Arguments): void {
  const route = args.text('route');
  if (route !== undefined)
    throw new UsageError(`--route is ${route}, and the model is a cross-encoder: leave it out.`);
}

/** The error for texts of which it is not said what they are. @param instead another flag that says it */
export function needsRoute(instead = ''): UsageError {
  return new UsageError(
    `The folder has a Router, with a model for queries and another for documents: say which with --route query or --route document${instead}.`,
  );
}

/** What is common to the models that are opened. */
interface Encoder {
  readonly device: string;
  readonly maxLength: number;
  readonly statedMaxLength: number;
  dispose(): void;
}

/** Loads a model of the folder that the flags name, and says where. Every rank loads it. */
export async function openWith<Model extends Encoder>(
  args: Arguments,
  { progress, signal, ranks, look, lengthFlag = '--max-length' }: Opening,
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
      look?.(folder);
      model = await load(folder, { device, precision, maxLength });
    });
  } catch (error) {
    model?.dispose();
    throw error instanceof SettingError && error.path === 'maxLength'
      ? new UsageError(`${lengthFlag} ${error.problem}`)
      : error;
  }
  const where = ranks === null ? model!.device : `${ranks.size} × ${ranks.device.split(':')[0]}`;
  progress.say(`${given} in ${precision} on ${where}`);
  for (const note of beyondCard(model!)) progress.say(note);
  return model!;
}
