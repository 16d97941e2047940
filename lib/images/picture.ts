import type * as Sharp from 'sharp';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';

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
    const { data, info } = await sharp(path, { ignoreIcc: true })
      .rotate()
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, points: inColour(data, info.channels) };
  } catch (error) {
    throw unreadable(path, error as Error);
  }
}

/** Grey points stand for three equal colours. */
function inColour(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return data;
  const points = new Uint8Array((data.length / channels) * 3);
  for (let place = 0; place < points.length; place++) points[place] = data[Math.floor(place / 3) * channels]!;
  return points;
}

function unreadable(path: string, error: NodeJS.ErrnoException): GradCacheError {
  if (error.code !== undefined) return fileError('INPUT', path, 'read', error);
  const [reason] = error.message.split('\n');
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
