import { GradCacheError, type ErrorCode } from '../errors.js';
import { show } from '../options/option-values.js';

/** A text, of those that a call was given, that cannot be taken. */
export interface TextRefusal {
  readonly code: ErrorCode;
  /** Its place among them, from 0. */
  readonly index: number;
  readonly text: string | readonly [string, string];
  /** What is wrong with it, to follow its name: `has no tokens; leave such texts out.` */
  readonly problem: string;
  readonly cause?: unknown;
}

/** Where an error has its {@link TextRefusal}: who knows the texts by other names than their places can then name it. */
const REFUSAL = Symbol.for('gradcache.textRefusal');

/** The error for a text that cannot be taken. @param name what the text is called; default: by its place */
export function textRefused(refusal: TextRefusal, name?: string): GradCacheError {
  const { code, index, text, problem, cause } = refusal;
  const called = name ?? `Text ${index} (${show(text)})`;
  const error = new GradCacheError(code, `${called} ${problem}`, cause === undefined ? {} : { cause });
  Object.defineProperty(error, REFUSAL, { value: refusal });
  return error;
}

/** The text that an error refuses; undefined for another error. */
export function refusedText(error: unknown): TextRefusal | undefined {
  return (error as { readonly [REFUSAL]?: TextRefusal } | null | undefined)?.[REFUSAL];
}

/** The error with its text at its place among more texts, of which `before` come first. */
export function textRefusedBehind(error: unknown, before: number): unknown {
  const refusal = refusedText(error);
  return refusal === undefined ? error : textRefused({ ...refusal, index: refusal.index + before });
}
