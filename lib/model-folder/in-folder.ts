import { GradCacheError } from '../errors.js';

/** What `work` gives. A `CHECKPOINT` that it throws, of a configuration or weights, says which folder they are in. */
export function inFolder<T>(folder: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof GradCacheError) || error.code !== 'CHECKPOINT') throw error;
    throw new GradCacheError('CHECKPOINT', `${folder}: ${error.message}`, { cause: error.cause });
  }
}
