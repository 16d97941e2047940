import { throwIfAborted } from '../options/abort.js';
import { native } from '../addon/native.js';

/** Chunks queued in the engine at once: enough that it never waits for JavaScript. */
export const AHEAD = 4;

let lastGroup = 0;

/** A run of chunks through the engine, in order. */
export interface ChunkRun<T> {
  readonly count: number;
  readonly signal?: AbortSignal | undefined;
  /** How many chunks may be queued or running before chunk `index` starts; default: a few. */
  readonly ahead?: (index: number) => number;
  /** Starts chunk `index`. Native work is submitted under `group`, which an abort cancels. */
  readonly launch: (index: number, group: number) => Promise<T>;
  /** Called for each chunk, in order. */
  readonly done: (index: number, result: T) => void;
}

/**
 * Runs chunks with a few queued ahead. After an abort or a failure, it cancels the queued chunks, waits for the running
 * one and throws the first error.
 *
 * @throws GradCacheError `ABORTED` when the signal fires, or whatever `launch` or `done` throws
 */
export async function inOrder<T>({
  count,
  signal,
  ahead = () => AHEAD,
  launch,
  done,
}: ChunkRun<T>): Promise<void> {
  throwIfAborted(signal);
  const group = ++lastGroup;
  const cancel = (): void => {
    native().cancel(group);
  };
  signal?.addEventListener('abort', cancel, { once: true });
  const running: Promise<T>[] = [];
  let launched = 0;
  try {
    for (let index = 0; index < count; index++) {
      while (launched < count && launched <= index + ahead(launched)) {
        const started = launch(launched++, group);
        started.catch(() => undefined); // looked at below, in order
        running.push(started);
      }
      const result = await running.shift()!;
      done(index, result);
      throwIfAborted(signal);
    }
  } catch (error) {
    cancel();
    for (const outcome of await Promise.allSettled(running)) {
      if (outcome.status === 'fulfilled') disposeOf(outcome.value);
    }
    throwIfAborted(signal);
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

/** Frees the result of a chunk that finished after the failure. */
function disposeOf(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  if (isDisposable(value)) value.dispose();
  else for (const part of Object.values(value)) disposeOf(part);
}

function isDisposable(value: object): value is { dispose(): void } {
  return 'dispose' in value && typeof value.dispose === 'function';
}
