import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { GradCacheError } from '../errors.js';
import type { PictureAnswer, PictureTask } from './picture-thread.js';
import { readPictures } from './picture.js';
import { prepared, type Preprocessing } from './preprocessing.js';

/** What became of a file: the points that a model takes, before they are scaled, or why there are none. */
export type PreparedPicture =
  | { readonly place: number; readonly points: Uint8Array }
  | { readonly place: number; readonly error: GradCacheError };

/** Fewer pictures are prepared where they are asked for: a thread takes longer to begin. */
const FEW = 16;
/** Threads at most: one processor is left for the step. */
const MOST_THREADS = Math.min(8, Math.max(1, availableParallelism() - 1));
/** Pictures of a thread that are decoded or wait for it, so that none waits for the next task. */
const PER_THREAD = 4;

/** A thread, and the pictures that it has not answered for. It does not keep the process alive when it has none. */
class Thread {
  readonly #worker = new Worker(new URL('./picture-thread.js', import.meta.url), { execArgv: [] });
  readonly #waiting = new Map<
    number,
    { resolve: (points: Uint8Array) => void; reject: (error: GradCacheError) => void }
  >();
  #next = 0;

  constructor(onEnd: (thread: Thread) => void) {
    this.#worker.unref();
    this.#worker.on('message', (answer: PictureAnswer) => {
      const { resolve, reject } = this.#waiting.get(answer.id)!;
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) this.#worker.unref();
      if ('points' in answer) resolve(answer.points);
      else reject(new GradCacheError(answer.code, answer.message));
    });
    let reason = 'it was stopped';
    this.#worker.on('error', (error: Error) => (reason = error.message));
    this.#worker.on('exit', () => {
      onEnd(this);
      for (const { reject } of this.#waiting.values())
        reject(new GradCacheError('SETUP', `A thread that prepares pictures ended: ${reason}`));
      this.#waiting.clear();
    });
  }

  get load(): number {
    return this.#waiting.size;
  }

  prepare(path: string, preprocessing: Preprocessing): Promise<Uint8Array> {
    const id = this.#next++;
    if (this.#waiting.size === 0) this.#worker.ref();
    const task: PictureTask = { id, path, preprocessing };
    this.#worker.postMessage(task);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }
}

/** Those that were begun; all encoders use them. */
const threads = new Set<Thread>();

/** The least busy of so many threads. */
function leastBusy(wanted: number): Thread {
  if (threads.size < wanted) threads.add(new Thread((ended) => threads.delete(ended)));
  const [first, ...others] = threads;
  return others.reduce((least, thread) => (thread.load < least.load ? thread : least), first!);
}

/**
 * Decodes and prepares the files of a list, in its order: off the JavaScript thread, and on several processors, where they are many.
 */
export async function* preparedPictures(
  paths: readonly string[],
  preprocessing: Preprocessing,
): AsyncGenerator<PreparedPicture, void, undefined> {
  if (paths.length < FEW) {
    for await (const read of readPictures(paths))
      yield 'error' in read
        ? read
        : { place: read.place, points: prepared(read.picture, preprocessing).points };
    return;
  }
  const wanted = Math.min(MOST_THREADS, Math.ceil(paths.length / FEW));
  const under: Promise<PreparedPicture>[] = [];
  for (let next = 0, place = 0; place < paths.length; place++) {
    for (; next < paths.length && under.length < PER_THREAD * wanted; next++) {
      const own = next;
      under.push(
        leastBusy(wanted)
          .prepare(paths[own]!, preprocessing)
          .then(
            (points) => ({ place: own, points }),
            (error: GradCacheError) => ({ place: own, error }),
          ),
      );
    }
    yield await under.shift()!;
  }
}
