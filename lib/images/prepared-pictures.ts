import type { GradCacheError } from '../errors.js';
import { begunAhead } from './begun-ahead.js';
import { AT_ONCE } from './picture.js';
import { pictureThreads, type PictureThreads } from './picture-threads.js';
import { preparePicture } from './prepare-picture.js';
import type { Preprocessing } from './preprocessing.js';

/** What became of a file: the points that a model takes, before they are scaled, or why there are none. */
export type PreparedPicture =
  | { readonly place: number; readonly points: Uint8Array }
  | { readonly place: number; readonly error: GradCacheError };

/** Fewer pictures are prepared where they are asked for: a thread takes longer to begin. */
const FEW = 16;

/**
 * Decodes and prepares the files of a list, in its order: off the JavaScript thread, and on several processors, where they are many
 * and the process may have threads.
 */
export async function* preparedPictures(
  paths: readonly string[],
  preprocessing: Preprocessing,
  threads: PictureThreads = pictureThreads,
): AsyncGenerator<PreparedPicture, void, undefined> {
  const onThreads = paths.length < FEW ? 0 : threads.begin(Math.ceil(paths.length / FEW));
  const begun = begunAhead(paths, onThreads || AT_ONCE, (path) =>
    onThreads > 0 ? threads.prepare(path, preprocessing) : preparePicture(path, preprocessing),
  );
  let place = 0;
  for (const points of begun) {
    yield await points.then(
      (made): PreparedPicture => ({ place, points: made }),
      (error: GradCacheError): PreparedPicture => ({ place, error }),
    );
    place++;
  }
}
