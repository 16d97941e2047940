import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { requireFunction } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import { isPlainObject } from '../options/realms.js';

/** Which tensors a block of code has made: what {@link tidy} frees at its end. */
interface Disposable {
  dispose(): void;
}

const scopes: Set<Disposable>[] = [];

/** Notes a new tensor in the innermost block; for tensor.ts. */
export function track(tensor: Disposable): void {
  scopes.at(-1)?.add(tensor);
}

/** Runs `fn` with new tensors noted nowhere: for those that outlive any block, like parameters. */
export function untracked<T>(fn: () => T): T {
  scopes.push(new Set());
  try {
    return fn();
  } finally {
    scopes.pop();
  }
}

/**
 * Runs `fn`, then disposes every tensor that was made inside, except those it returns (by themselves, in a list or in a
 * plain object), which pass to the block around. `fn` must be synchronous.
 *
 * @throws GradCacheError `INPUT` where `fn` returns a promise
 */
export function tidy<T>(fn: () => T): T {
  requireFunction("tidy's block", fn);
  const scope = new Set<Disposable>();
  scopes.push(scope);
  let result: T | undefined;
  try {
    result = synchronous('the block of tidy', fn());
    return result;
  } finally {
    scopes.pop();
    const kept = new Set<unknown>();
    collect(result, kept);
    for (const tensor of scope) {
      if (kept.has(tensor)) track(tensor);
      else tensor.dispose();
    }
  }
}

/** Runs `use` and returns the owner of memory that it is about. If `use` fails, the owner is disposed at once. */
export function orDispose<T extends Disposable>(owner: T, use: () => void): T {
  try {
    use();
    return owner;
  } catch (error) {
    owner.dispose();
    throw error;
  }
}

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

function collect(value: unknown, into: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || into.has(value)) return;
  into.add(value);
  if (Array.isArray(value)) for (const element of value) collect(element, into);
  else if (isPlainObject(value)) for (const element of Object.values(value)) collect(element, into);
}
