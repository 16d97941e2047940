import { GradCacheError } from '../errors.js';

/** Runs `work`. The message of a `CHECKPOINT` that it throws gets the folder in front. */
export function inFolder<T>(folder: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof GradCacheError) || error.code !== 'CHECKPOINT') throw error;
    throw new GradCacheError('CHECKPOINT', `${folder}: ${error.message}`, { cause: error.cause });
  }
}
