import { GradCacheError } from '../errors.js';
import { problemOf } from '../options/option-values.js';

/**
 * What is thrown for the content of a file that cannot be honoured: `PATH: FAULT.`
 *
 * @param fault a clause without a full stop, or several sentences of which the last has none
 */
export function faultIn(path: string, fault: string, cause?: unknown): GradCacheError {
  return new GradCacheError('CHECKPOINT', `${path}: ${fault}.`, { cause });
}

/** The same for one value of a file: `PATH: KEY is VALUE; NEEDED is needed.` */
export function refusedIn(path: string, key: string, value: unknown, needed: string): GradCacheError {
  return new GradCacheError('CHECKPOINT', `${path}: ${key} ${problemOf(value, needed)}`);
}
