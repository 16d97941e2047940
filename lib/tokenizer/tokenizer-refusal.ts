import { GradCacheError } from '../errors.js';

/**
 * The error for something in a tokenizer.json that cannot be honoured.
 *
 * @param what a clause without a full stop
 * @param way what can be done about it, a sentence without a full stop
 */
export function refusedTokenizer(what: string, way: string, options?: ErrorOptions): GradCacheError {
  return new GradCacheError('CHECKPOINT', `${what}. ${way}.`, options);
}
