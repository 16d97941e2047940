import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { readGiven } from './read-given.js';

/**
 * The result of a block of the caller's, which must end when it returns: what an asynchronous one does after its first
 * `await` would happen outside of the block.
 *
 * @throws GradCacheError `INPUT` for a promise; where that fails in its turn, its reason becomes the error's `cause`
 */
export function synchronous<T>(block: string, result: T): T {
  const promise: unknown = result;
  const then: unknown =
    typeof promise === 'object' && promise !== null
      ? readGiven(`the result of ${block}`, () => (promise as { then?: unknown }).then)
      : undefined;
  if (typeof then !== 'function') return result;
  const error = new GradCacheError(
    'INPUT',
    `${block} is asynchronous: it returned a promise. It must do all its work before it returns; await before it, or after`,
  );
  // Only a promise is at work already: another thenable, as a query of a database, may begin when it is asked.
  if (types.isPromise(promise)) promise.catch((reason: unknown) => (error.cause = reason));
  throw error;
}

/**
 * Calls a listener of the caller's, if there is one. Nothing waits for a listener, so one that is asynchronous is refused: its
 * failure would be nobody's.
 *
 * @throws GradCacheError `INPUT` for a listener that returns a promise; what the listener throws passes through
 */
export function tell<Told extends readonly unknown[]>(
  name: string,
  listener: ((...told: Told) => unknown) | undefined,
  ...told: Told
): void {
  if (listener !== undefined) synchronous(name, listener(...told));
}
