import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { readJsonObject } from '../files/json-file.js';
import { refusedIn } from '../files/file-fault.js';
import { isJsonObject } from '../files/strict-json.js';
import type { Picture } from './picture.js';
import { cropped, RESAMPLINGS, resized } from './resample.js';

/** What preprocessor_config.json of a folder says of pictures. */
export interface Preprocessing {
  /** null: they stay as large as they are. */
  readonly resize: { readonly shortest: number } | { readonly width: number; readonly height: number } | null;
  /** A number of Pillow. */
  readonly resampling: number;
  readonly crop: { readonly width: number; readonly height: number } | null;
  /** Points times `factor`, less `mean`, divided by `deviation`, by colour. */
  readonly factor: number;
  readonly mean: readonly [number, number, number];
  readonly deviation: readonly [number, number, number];
}

/** What the classes of transformers take where the file says nothing. */
interface Defaults {
  readonly resampling: number;
  readonly shortest: boolean;
  readonly crops: boolean;
  readonly mean: readonly [number, number, number];
  readonly deviation: readonly [number, number, number];
}

const HALF = [0.5, 0.5, 0.5] as const;
const SQUARE = { resampling: 3, shortest: false, crops: false, mean: HALF, deviation: HALF };
const DEFAULTS: Readonly<Record<string, Defaults>> = {
  clip: {
    ...{ resampling: 3, shortest: true, crops: true },
    mean: [0.48145466, 0.4578275, 0.40821073],
    deviation: [0.26862954, 0.26130258, 0.27577711],
  },
  siglip: SQUARE,
  vit: { ...SQUARE, resampling: 2 },
};

/** The file of a folder that says how pictures are prepared. */
export const PREPROCESSING_FILE = 'preprocessor_config.json';

/**
 * Reads preprocessor_config.json.
 *
 * @param kind whose defaults hold where it says nothing
 * @param side the pictures' width and height in points, as the model takes them
 * @throws GradCacheError `CHECKPOINT` for what is not supported, and where pictures would not come out as the model takes them
 */
export async function readPreprocessing(
  folder: string,
  kind: 'clip' | 'siglip' | 'vit',
  side: number,
): Promise<{ readonly preprocessing: Preprocessing; readonly stated: Readonly<Record<string, unknown>> }> {
  const path = join(folder, PREPROCESSING_FILE);
  const stated = await readJsonObject(path);
  if (stated === undefined)
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} has no ${PREPROCESSING_FILE}, which says how pictures are to be prepared.`,
    );
  const preprocessing = preprocessingIn(path, stated, DEFAULTS[kind]!);
  requireSide(path, stated, preprocessing, side);
  return { preprocessing, stated };
}

/** What is made where a new model is not told otherwise: squares of its side, and the rest as its kind usually has it. */
export function usualPreprocessing(
  kind: 'clip' | 'siglip' | 'vit',
  side: number,
): { readonly preprocessing: Preprocessing; readonly stated: Readonly<Record<string, unknown>> } {
  const square = { height: side, width: side };
  const { shortest, mean, deviation, resampling } = DEFAULTS[kind]!;
  const stated = {
    image_processor_type: {
      clip: 'CLIPImageProcessor',
      siglip: 'SiglipImageProcessor',
      vit: 'ViTImageProcessor',
    }[kind],
    ...(shortest ? { size: { shortest_edge: side }, crop_size: square } : { size: square }),
    ...{ resample: resampling, image_mean: mean, image_std: deviation },
    ...{ do_resize: true, do_center_crop: shortest, do_rescale: true, do_normalize: true },
  };
  return { preprocessing: preprocessingIn(PREPROCESSING_FILE, stated, DEFAULTS[kind]!), stated };
}

function requireSide(
  path: string,
  stated: Readonly<Record<string, unknown>>,
  { resize, crop }: Preprocessing,
  side: number,
): void {
  const made = crop ?? (resize && 'width' in resize ? resize : null);
  if (made?.width !== side || made.height !== side)
    throw refusedIn(
      path,
      crop ? 'crop_size' : 'size',
      stated[crop ? 'crop_size' : 'size'],
      `${side} by ${side}, as config.json has it,`,
    );
}

function preprocessingIn(
  path: string,
  stated: Readonly<Record<string, unknown>>,
  defaults: Defaults,
): Preprocessing {
  const truth = (key: string, otherwise: boolean): boolean => {
    const value = stated[key] ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw refusedIn(path, key, value, 'true or false');
  };
  const colours = (key: string, otherwise: readonly [number, number, number]): [number, number, number] => {
    const value: unknown = stated[key] ?? otherwise;
    if (
      Array.isArray(value) &&
      value.length === 3 &&
      value.every((each) => typeof each === 'number' && Number.isFinite(each))
    )
      return value as [number, number, number];
    throw refusedIn(path, key, value, 'a list of three numbers');
  };
  if (!truth('do_convert_rgb', true)) throw refusedIn(path, 'do_convert_rgb', false, 'true');
  if (truth('do_pad', false)) throw refusedIn(path, 'do_pad', true, 'false');
  const resampling = stated['resample'] ?? defaults.resampling;
  if (typeof resampling !== 'number' || !RESAMPLINGS.includes(resampling))
    throw refusedIn(path, 'resample', resampling, `one of ${RESAMPLINGS.join(', ')}`);
  const factor = stated['rescale_factor'] ?? 1 / 255;
  if (typeof factor !== 'number' || !Number.isFinite(factor))
    throw refusedIn(path, 'rescale_factor', factor, 'a number');
  const normalizes = truth('do_normalize', true);
  return {
    resize: truth('do_resize', true) ? sizeIn(path, 'size', stated['size'], defaults.shortest) : null,
    resampling,
    crop: truth('do_center_crop', defaults.crops)
      ? rectangleIn(path, 'crop_size', stated['crop_size'])
      : null,
    factor: truth('do_rescale', true) ? factor : 1,
    mean: normalizes ? colours('image_mean', defaults.mean) : [0, 0, 0],
    deviation: normalizes ? colours('image_std', defaults.deviation) : [1, 1, 1],
  };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

function sizeIn(
  path: string,
  key: string,
  value: unknown,
  shortest: boolean,
): NonNullable<Preprocessing['resize']> {
  if (value === undefined || value === null)
    return shortest ? { shortest: 224 } : { width: 224, height: 224 };
  if (isCount(value)) return shortest ? { shortest: value } : { width: value, height: value };
  if (isJsonObject(value) && isCount(value['shortest_edge']) && value['longest_edge'] === undefined)
    return { shortest: value['shortest_edge'] };
  return rectangleIn(path, key, value);
}

function rectangleIn(path: string, key: string, value: unknown): { width: number; height: number } {
  if (value === undefined || value === null) return { width: 224, height: 224 };
  if (isCount(value)) return { width: value, height: value };
  if (isJsonObject(value) && isCount(value['width']) && isCount(value['height']))
    return { width: value['width'], height: value['height'] };
  throw refusedIn(path, key, value, 'a number, { "shortest_edge" } or { "height", "width" }');
}

/** The points that a model takes, before they are scaled. */
export function prepared(picture: Picture, { resize, resampling, crop }: Preprocessing): Picture {
  let made = picture;
  if (resize !== null) {
    const { width, height } = 'width' in resize ? resize : shortestSide(picture, resize.shortest);
    made = resized(made, width, height, resampling);
  }
  return crop === null ? made : cropped(made, crop.width, crop.height);
}

/** The shorter side gets the length, and the other one is cut off to a whole number of points. */
function shortestSide({ width, height }: Picture, length: number): { width: number; height: number } {
  const longer = Math.trunc((length * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? { width: length, height: longer } : { width: longer, height: length };
}
