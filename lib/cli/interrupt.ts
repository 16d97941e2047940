import { GradCacheError } from '../errors.js';
import type { ProgressLine } from './terminal.js';

/**
 * Runs something that Ctrl-C ends gently: the first SIGINT or SIGTERM fires the signal and says so, a second
 * one ends the process at once, as if it had never been caught.
 *
 * @param left what the interrupted command leaves behind, for the message
 * @param saying what is said at the first signal
 * @throws GradCacheError `ABORTED`
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  progress: ProgressLine,
  left: () => string | Promise<string>,
  saying = 'Ending after the current chunk. Ctrl-C again ends at once.',
): Promise<T> {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const first = (): void => {
    stopListening();
    for (const name of signals) process.once(name, () => endAtOnce(name));
    progress.say(saying);
    controller.abort();
  };
  const stopListening = (): void => {
    for (const name of signals) process.removeListener(name, first);
  };
  for (const name of signals) process.on(name, first);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!(error instanceof GradCacheError) || !isInterruption(error, controller.signal)) throw error;
    throw new GradCacheError('ABORTED', `Interrupted. ${await left()}`, { cause: error });
  } finally {
    stopListening();
    // The process goes on to print why it ended; from here on the default action of a signal is right.
    if (controller.signal.aborted) for (const name of signals) process.removeAllListeners(name);
  }
}

/** Of processes that train together some end a little earlier than others, which then miss them. */
function isInterruption({ code }: GradCacheError, { aborted }: AbortSignal): boolean {
  return code === 'ABORTED' || (aborted && code === 'DISTRIBUTED');
}

/**
 * What a promise gives, or the error of an abort as soon as the signal fires: for what may wait for ever, such as a pipe.
 *
 * @throws GradCacheError `ABORTED`
 */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => undefined); // nobody looks at it once the signal has fired
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(new GradCacheError('ABORTED', 'Interrupted.', { cause: signal.reason }));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The default action of a signal runs no exit handlers, so that a busy native thread cannot hold it up. */
function endAtOnce(name: NodeJS.Signals): void {
  process.removeAllListeners(name);
  process.kill(process.pid, name);
}
