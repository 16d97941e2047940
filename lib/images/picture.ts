import { access, constants, stat } from 'node:fs/promises';
import type * as Sharp from 'sharp';
import { GradCacheError } from '../errors.js';
import { fileError, isSystemError } from '../files/file-error.js';
import { throwIfAborted } from '../options/abort.js';
import { begunAhead } from './begun-ahead.js';

/** A decoded picture: red, green and blue of each point, row after row. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly points: Uint8Array;
}

/**
 * Decodes a JPEG, PNG, WebP or any other picture that the package sharp knows, turned as its EXIF data says. Transparency
 * is left out and colour profiles are not applied, as Pillow's `convert('RGB')` has it.
 *
 * @throws GradCacheError `INPUT` with the path, for a file that cannot be read or decoded; `SETUP` where sharp is not installed
 */
export async function readPicture(path: string): Promise<Picture> {
  const sharp = await decoder();
  try {
    // A pipe would be waited for without an end.
    if (!(await stat(path)).isFile()) throw new Error('it is no file');
    const { data, info } = await sharp(path, { ignoreIcc: true })
      .rotate()
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, points: inColour(data, info.channels) };
  } catch (error) {
    throw await unreadable(path, error as Error);
  }
}

/** Pictures that are decoded at the same time, on threads of Node's pool. */
export const AT_ONCE = 8;

/**
 * The pictures of a list that cannot be decoded, in its order.
 *
 * @throws GradCacheError `SETUP` without sharp, `ABORTED`
 */
export async function* pictureFaults(
  paths: readonly string[],
  signal?: AbortSignal,
): AsyncGenerator<
  { readonly place: number; readonly path: string; readonly message: string },
  void,
  undefined
> {
  let place = 0;
  for (const read of begunAhead(paths, AT_ONCE, readPicture)) {
    throwIfAborted(signal);
    const fault = await read.then(
      () => null,
      (error: GradCacheError) => error,
    );
    if (fault !== null) {
      if (fault.code !== 'INPUT') throw fault;
      yield { place, path: paths[place]!, message: fault.message };
    }
    place++;
  }
}

/** Grey points stand for three equal colours. */
function inColour(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return data;
  const points = new Uint8Array((data.length / channels) * 3);
  for (let place = 0; place < points.length; place++) points[place] = data[Math.floor(place / 3) * channels]!;
  return points;
}

/** The decoder does not say why it cannot open a file; the system does. */
async function unreadable(path: string, error: Error): Promise<GradCacheError> {
  const fault = await access(path, constants.R_OK).then(
    () => error,
    (refusal: Error) => refusal,
  );
  if (isSystemError(fault)) return fileError('INPUT', path, 'read', fault);
  const reason = error.message.split('\n')[0]!.replace(/[\s:.]+$/, '');
  return new GradCacheError('INPUT', `${path} cannot be decoded as a picture: ${reason}`, { cause: error });
}

const PACKAGE = 'sharp';

async function decoder(): Promise<typeof Sharp.default> {
  try {
    return (await import('sharp')).default;
  } catch (error) {
    throw new GradCacheError(
      'SETUP',
      `Pictures need the package ${PACKAGE}, which cannot be loaded: ${(error as Error).message.split('\n')[0]}. ` +
        `Install it beside gradcache: npm install ${PACKAGE}`,
      { cause: error },
    );
  }
}
