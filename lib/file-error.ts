import { GradCacheError } from './errors.js';

/** What is thrown where the system refuses a file: `PATH cannot be WHAT`, and its reason. */
export function fileError(
  code: 'INPUT' | 'CHECKPOINT',
  path: string,
  what: string,
  error: unknown,
): GradCacheError {
  const reason = error instanceof Error ? error.message : String(error);
  return new GradCacheError(code, `${path} cannot be ${what}: ${reason}.`, { cause: error });
}
