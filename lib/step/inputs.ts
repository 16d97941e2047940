import { GradCacheError } from '../errors.js';

/** The error of an encoder that refuses its batch, which says which of the step's inputs that is. */
export function aboutInput(tower: number, error: unknown): unknown {
  if (!(error instanceof GradCacheError)) return error;
  return new GradCacheError(error.code, `inputs[${tower}]: ${error.message}`, { cause: error.cause });
}
