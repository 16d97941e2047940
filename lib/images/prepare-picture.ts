import { GradCacheError } from '../errors.js';
import { readPicture } from './picture.js';
import { prepared, type Preprocessing } from './preprocessing.js';

/**
 * Decodes a picture and prepares its points as a model takes them, before they are scaled.
 *
 * @throws GradCacheError `INPUT` with the path, `SETUP` where sharp is not installed
 */
export async function preparePicture(path: string, preprocessing: Preprocessing): Promise<Uint8Array> {
  const picture = await readPicture(path);
  try {
    return prepared(picture, preprocessing).points;
  } catch (error) {
    // Such as memory for a picture of one point by many thousands, whose shorter side gets a model's length.
    const { width, height } = picture;
    throw new GradCacheError(
      'INPUT',
      `${path}, a picture of ${width} by ${height} points, cannot be prepared: ${(error as Error).message}`,
      { cause: error },
    );
  }
}
