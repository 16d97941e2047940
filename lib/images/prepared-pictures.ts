import type { GradCacheError } from '../errors.js';
import { preparePicture } from './prepare-picture.js';
import { pictureThreads, type PictureThreads } from './picture-threads.js';
import type { Preprocessing } from './preprocessing.js';

/** What became of a file: the points that a model takes, before they are scaled, or why there are none. */
export type PreparedPicture =
  | { readonly place: number; readonly points: Uint8Array }
  | { readonly place: number; readonly error: GradCacheError };

/** Fewer pictures are prepared where they are asked for: a thread takes longer to begin. */
const FEW = 16;
/** Pictures that are decoded at the same time there, on threads of Node's pool. */
const AT_ONCE = 8;

/**
 * Decodes and prepares the files of a list, in its order: off the JavaScript thread, and on several processors, where they are many
 * and the process may have threads.
 */
export async function* preparedPictures(
  paths: readonly string[],
  preprocessing: Preprocessing,
  threads: PictureThreads = pictureThreads,
): AsyncGenerator<PreparedPicture, void, undefined> {
  let started = here(paths, preprocessing);
  if (paths.length >= FEW) {
    const onThreads = threads.started(paths, preprocessing, FEW);
    try {
      started = chained(onThreads.next(), onThreads);
    } catch (error) {
      // Under Node's permission model without --allow-worker. Nothing is lost but time.
      if ((error as NodeJS.ErrnoException).code !== 'ERR_ACCESS_DENIED') throw error;
    }
  }
  let place = 0;
  for (const points of started) {
    yield await points.then(
      (made): PreparedPicture => ({ place, points: made }),
      (error: GradCacheError): PreparedPicture => ({ place, error }),
    );
    place++;
  }
}

function* here(
  paths: readonly string[],
  preprocessing: Preprocessing,
): Generator<Promise<Uint8Array>, void, undefined> {
  const under: Promise<Uint8Array>[] = [];
  for (let next = 0, place = 0; place < paths.length; place++) {
    for (; next < paths.length && under.length < AT_ONCE; next++) {
      const points = preparePicture(paths[next]!, preprocessing);
      points.catch(() => undefined); // it is looked at in its turn
      under.push(points);
    }
    yield under.shift()!;
  }
}

function* chained<Item>(
  first: IteratorResult<Item, void>,
  others: Iterable<Item>,
): Generator<Item, void, undefined> {
  if (first.done !== true) yield first.value;
  yield* others;
}
