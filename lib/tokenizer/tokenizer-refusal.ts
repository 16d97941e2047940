import { GradCacheError } from '../errors.js';
import { fileError, isSystemError } from '../files/file-error.js';

/**
 * The error for something in a tokenizer.json that cannot be honoured.
 *
 * @param what a clause without a full stop
 * @param way what can be done about it, a sentence without a full stop
 */
export function refusedTokenizer(what: string, way: string, options?: ErrorOptions): GradCacheError {
  return new GradCacheError('CHECKPOINT', `${what}. ${way}.`, options);
}

const NEEDED =
  'A tokenizer.json as AutoTokenizer.from_pretrained(…).save_pretrained(folder) writes it is needed.';

/** The error for a tokenizer.json that cannot be read, or is not a tokenizer. */
export function unusable(path: string, error: unknown): GradCacheError {
  if (isSystemError(error)) {
    if (error.code !== 'ENOENT') return fileError('CHECKPOINT', path, 'read', error);
    return new GradCacheError('CHECKPOINT', `${path} is missing. ${NEEDED}`, { cause: error });
  }
  if (error instanceof GradCacheError) {
    const message = `${path} cannot be used as a tokenizer: ${error.message}`;
    return new GradCacheError('CHECKPOINT', message, { cause: error });
  }
  return new GradCacheError(
    'CHECKPOINT',
    `${path} cannot be used as a tokenizer: ${(error as Error).message}. ${NEEDED}`,
    { cause: error },
  );
}
