/*
 * Tests of a value's type that work across realms. Jest, Vitest and node:vm run programs with their own globals, while Node
 * and native code make errors and arrays with the main ones, so `instanceof` rejects good values.
 */
import { types } from 'node:util';
import { show } from './option-values.js';

/** An error of any realm. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value);
}

/** True for an object as `{}` makes it, in any realm; false for a class instance or a list. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Why something failed: the message of what was thrown, or the thing itself. */
export function reasonOf(thrown: unknown): string {
  const message = (thrown as { message?: unknown } | null | undefined)?.message;
  return typeof message === 'string' ? message : show(thrown);
}
