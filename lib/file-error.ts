import { GradCacheError } from './errors.js';
import { reasonOf } from './realms.js';

/** What is thrown where the system refuses a file: `PATH cannot be WHAT`, and its reason. */
export function fileError(
  code: 'INPUT' | 'CHECKPOINT',
  path: string,
  what: string,
  error: unknown,
): GradCacheError {
  return new GradCacheError(code, `${path} cannot be ${what}: ${reasonOf(error)}.`, { cause: error });
}
