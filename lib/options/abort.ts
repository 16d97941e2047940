import { GradCacheError } from '../errors.js';

/** @throws GradCacheError `ABORTED`, with the signal's reason as its cause */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new GradCacheError('ABORTED', 'stopped by the AbortSignal', { cause: signal.reason });
}
