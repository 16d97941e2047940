import { GradCacheError } from '../errors.js';
import { didYouMean } from './nearest.js';

/*
 * Checks of what a caller gives to a public function, of whatever type it is: a program in JavaScript has no compiler
 * that looks. Each throws `INPUT` with the option's name, the value, and what is needed. Fill defaults in first:
 * `undefined` is refused, except by requireSignal.
 */

/** Throws unless the value is true or false: `'no'` and 0 are neither. */
export function requireBoolean(name: string, value: unknown): asserts value is boolean {
  if (typeof value !== 'boolean') throw refused(name, value, 'true or false');
}

/** Bounds of a number; by default any finite number is good. */
export interface Bounds {
  readonly from?: number;
  /** The number must be greater than this. */
  readonly above?: number;
  readonly to?: number;
  /** The number must be less than this. */
  readonly below?: number;
  /** Infinity is good as well. */
  readonly infinite?: boolean;
  /** Only whole numbers are good. */
  readonly whole?: boolean;
}

/** The greatest finite float32: gradients that are multiplied by more would be infinite. */
const MOST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** Throws unless gradients can be multiplied by the value in float32. */
export function requireWeight(
  name: string,
  value: unknown,
  bounds: Pick<Bounds, 'from' | 'above'> = {},
): asserts value is number {
  const { from, above } = bounds;
  const least = from === undefined && above === undefined ? { from: -MOST_FLOAT32 } : bounds;
  requireNumber(name, value, { ...least, to: MOST_FLOAT32 });
}

export function requireNumber(name: string, value: unknown, bounds: Bounds = {}): asserts value is number {
  if (!isNumber(value, bounds)) throw refused(name, value, describeBounds(bounds));
}

/** Whether a value is a number within bounds. */
export function isNumber(value: unknown, bounds: Bounds): value is number {
  const { from = -Infinity, above, to = Infinity, below, infinite = false, whole = false } = bounds;
  return (
    typeof value === 'number' &&
    (Number.isFinite(value) || (infinite && value === Infinity)) &&
    value >= from &&
    (above === undefined || value > above) &&
    value <= to &&
    (below === undefined || value < below) &&
    (!whole || Number.isSafeInteger(value))
  );
}

/** Bounds in words: `a finite number from 0 to 0.99`. */
export function describeBounds({ from, above, to, below, infinite, whole }: Bounds): string {
  const kind = whole === true ? 'a whole number' : infinite === true ? 'a number' : 'a finite number';
  const limits = [
    from === undefined ? [] : `from ${from}`,
    above === undefined ? [] : `above ${above}`,
    to === undefined ? [] : `to ${to}`,
    below === undefined ? [] : `below ${below}`,
  ].flat();
  return [kind, ...limits].join(' ');
}

/** Throws unless the value is a whole number from `least`. */
export function requireCount(name: string, value: unknown, least: number): asserts value is number {
  requireNumber(name, value, { from: least, whole: true });
}

export function requireString(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw refused(name, value, 'a string');
}

/** Throws unless the value is one of the names that are accepted. */
export function requireOneOf<const T extends string>(
  name: string,
  value: unknown,
  accepted: readonly T[],
): asserts value is T {
  if (accepted.includes(value as T)) return;
  const { needed, hint } = choiceOf(value, accepted);
  throw refused(name, value, needed, hint);
}

/** Names that a sentence holds; more are listed below it. */
const IN_A_SENTENCE = 10;
/** Letters of a line of a list. */
const LINE = 100;

/** What is needed in place of a value that is none of some names, and what follows the sentence: the name that was meant, or all. */
export function choiceOf(value: unknown, accepted: readonly string[]): { needed: string; hint: string } {
  const near = didYouMean(value, accepted);
  if (accepted.length <= IN_A_SENTENCE) return { needed: anyOf(accepted), hint: near };
  return { needed: `one of ${accepted.length} names`, hint: `${near}\n${inLines(accepted)}` };
}

/** Names one after the other, in lines of a terminal. */
function inLines(names: readonly string[]): string {
  const lines: string[] = [];
  let line = ' ';
  for (const [place, name] of names.entries()) {
    const next = place + 1 < names.length ? `${name},` : name;
    if (line.length + next.length + 1 > LINE) {
      lines.push(line);
      line = ' ';
    }
    line += ` ${next}`;
  }
  return [...lines, line].join('\n');
}

/** Throws unless the value is a list of different ones of the names that are accepted, with at least one. */
export function requireSeveralOf<const T extends string>(
  name: string,
  value: unknown,
  accepted: readonly T[],
): asserts value is readonly T[] {
  if (!isSeveralOf(value, accepted)) throw refused(name, value, severalOf(accepted));
}

/** Whether a value is a list of different ones of some names, with at least one. */
export function isSeveralOf<const T extends string>(
  value: unknown,
  accepted: readonly T[],
): value is readonly T[] {
  if (!Array.isArray(value) || value.length === 0) return false;
  return value.every((each) => accepted.includes(each as T)) && new Set(value).size === value.length;
}

/** A list of some names, in words. */
export function severalOf(accepted: readonly string[]): string {
  return `a list of one or more of ${accepted.map(show).join(', ')}`;
}

/** The names that are accepted, in words. */
export function anyOf(accepted: readonly string[]): string {
  return accepted.map(show).join(' or ');
}

/** Throws for what is no list of texts. */
export function requireTexts(name: string, texts: unknown): asserts texts is readonly string[] {
  if (!Array.isArray(texts)) throw refused(name, texts, 'a list of texts');
  const wrong = texts.findIndex((text) => typeof text !== 'string');
  if (wrong >= 0) throw refused(`${name}[${wrong}]`, texts[wrong], 'a text');
}

/** Throws for what is no list of pairs of texts. */
export function requireTextPairs(
  name: string,
  pairs: unknown,
): asserts pairs is readonly (readonly [string, string])[] {
  if (!Array.isArray(pairs)) throw refused(name, pairs, 'a list of pairs of texts');
  const isPair = (pair: unknown): boolean =>
    Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === 'string');
  const wrong = pairs.findIndex((pair) => !isPair(pair));
  if (wrong >= 0) throw refused(`${name}[${wrong}]`, pairs[wrong], 'a pair of texts, [first, second],');
}

export function requireFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw refused(name, value, 'a function');
}

/** Throws for what a loop cannot go over. */
export function requireIterable(name: string, value: unknown): void {
  if (!isIterable(value)) throw refused(name, value, 'an iterable');
}

/** The same for texts. One text is refused too, which would be taken for its characters. */
export function requireTextIterable(name: string, value: unknown): void {
  if (typeof value === 'string' || !isIterable(value))
    throw refused(name, value, 'a list of texts, or another iterable of them,');
}

function isIterable(value: unknown): boolean {
  const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = (value ?? {}) as Partial<
    AsyncIterable<unknown> & Iterable<unknown>
  >;
  return typeof later === 'function' || typeof now === 'function';
}

/** Throws for what is neither undefined nor an AbortSignal, which may be one of another realm. */
export function requireSignal(name: string, value: unknown): asserts value is AbortSignal | undefined {
  if (value === undefined) return;
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function')
    throw refused(name, value, 'an AbortSignal');
}

/** The error for a value that an option does not take. @param hint what follows the sentence */
export function refused(name: string, value: unknown, needed: string, hint = ''): GradCacheError {
  return new GradCacheError('INPUT', `${name} ${problemOf(value, needed)}${hint}`);
}

/** What is wrong with a value, to follow its name in a message. */
export function problemOf(value: unknown, needed: string): string {
  const shown = typeof value === 'bigint' ? `${value}n` : show(value); // else 1n would be refused as 1
  return `is ${shown}; ${needed} is needed.`;
}

/** A value as error messages show it: short, and never throwing. */
export function show(value: unknown): string {
  const text = written(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function written(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value !== 'object' || value === null) return String(value); // JSON has no NaN, bigint or symbol
  try {
    return JSON.stringify(value) ?? 'an object';
  } catch {
    return 'an object'; // a circle, or a bigint inside
  }
}
