import { GradCacheError } from '../errors.js';

/** @throws GradCacheError `ABORTED`, with the signal's reason as its cause */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new GradCacheError('ABORTED', 'stopped by the AbortSignal', { cause: signal.reason });
}

/** Waits for so many milliseconds, or until the signal fires. */
export async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return;
  let end: () => void = () => undefined;
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    end = resolve;
    timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', end, { once: true });
  });
  clearTimeout(timer);
  signal?.removeEventListener('abort', end);
}
