import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { GradCacheError } from '../errors.js';
import { optionsThatLoad } from '../processes/options-that-load.js';
import type { PictureAnswer, PictureTask } from './picture-thread.js';
import type { Preprocessing } from './preprocessing.js';

/** Pictures of a thread that are decoded or wait for it, so that none waits for the next task. */
const PER_THREAD = 4;

/** A picture that a thread has not answered for. */
interface Waiting {
  readonly path: string;
  readonly resolve: (points: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** A thread that prepares pictures. It does not keep the process alive when it has none. */
class Thread {
  readonly #worker = new Worker(new URL('./picture-thread.js', import.meta.url), {
    execArgv: optionsThatLoad(),
  });
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;

  /** @throws where the process may have no threads: Node's permission model */
  constructor(onEnd: (thread: Thread) => void) {
    this.#worker.unref();
    this.#worker.on('message', (answer: PictureAnswer) => {
      const { resolve, reject } = this.#waiting.get(answer.id)!;
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) this.#worker.unref();
      if ('points' in answer) resolve(answer.points);
      else {
        const { code, message, cause } = answer;
        reject(code === null ? new Error(message, { cause }) : new GradCacheError(code, message, { cause }));
      }
    });
    let reason = 'it was stopped';
    // A program may throw anything.
    this.#worker.on('error', (error: Error | null) => (reason = error?.message ?? String(error)));
    this.#worker.on('exit', () => {
      onEnd(this);
      for (const { path, reject } of this.#waiting.values())
        reject(new GradCacheError('SETUP', `The thread that was to prepare ${path} ended: ${reason}`));
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
    return new Promise((resolve, reject) => this.#waiting.set(id, { path, resolve, reject }));
  }
}

/** Threads that decode and prepare pictures, begun when they are needed. */
export class PictureThreads {
  readonly #threads = new Set<Thread>();

  /** @param most how many there are at most */
  constructor(readonly most: number) {}

  /**
   * Begins as many as are wanted and may be.
   *
   * @returns how many pictures keep all of them busy; 0 where the process may have no threads: under Node's permission model
   */
  begin(wanted: number): number {
    try {
      while (this.#threads.size < Math.min(wanted, this.most))
        this.#threads.add(new Thread((ended) => void this.#threads.delete(ended)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_ACCESS_DENIED') throw error;
    }
    return PER_THREAD * this.#threads.size;
  }

  /** Gives a picture to the least busy thread; to a new one where they have ended. */
  prepare(path: string, preprocessing: Preprocessing): Promise<Uint8Array> {
    this.begin(1);
    const [first, ...others] = this.#threads;
    const thread = others.reduce((least, each) => (each.load < least.load ? each : least), first!);
    return thread.prepare(path, preprocessing);
  }
}

/** Those of all encoders: one processor is left for the step. */
export const pictureThreads = new PictureThreads(Math.min(8, Math.max(1, availableParallelism() - 1)));
