import { requireFunction } from '../options/option-values.js';
import { isPlainObject } from '../options/realms.js';
import { synchronous } from '../options/synchronous.js';

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
 * @example
 * ```ts
 * const norm = tidy(() => weights.mul(weights).sum().sqrt()); // what is made in between is disposed
 * ```
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

function collect(value: unknown, into: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || into.has(value)) return;
  into.add(value);
  if (Array.isArray(value)) for (const element of value) collect(element, into);
  else if (isPlainObject(value)) for (const element of Object.values(value)) collect(element, into);
}
