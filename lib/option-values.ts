import { GradCacheError } from './errors.js';

/** Throws `INPUT` unless the option is a whole number from `least`. */
export function requireCount(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new GradCacheError('INPUT', `${name} is ${show(value)}; a whole number from ${least} is needed.`);
  }
}

/** A value as error messages show it: short, and never throwing. */
export function show(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'number') return String(value); // JSON has no NaN
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined;
  }
  text ??= String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
