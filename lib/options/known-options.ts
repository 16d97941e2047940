import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { nearest } from './nearest.js';

/**
 * Refuses options that do not exist, and a list or Map in their place: a program in JavaScript has no compiler that looks.
 *
 * @param taker whose options they are, for the message
 * @throws GradCacheError `INPUT`
 */
export function checkKnown(taker: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options) || types.isMap(options))
    throw new GradCacheError('INPUT', `${taker} takes its options as an object: ${known.join(', ')}`);
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const near = nearest(unknown, known);
  const hint = near === undefined ? '' : ` (did you mean ${near}?)`;
  throw new GradCacheError(
    'INPUT',
    `${taker} knows no option '${unknown}'${hint}; it takes ${known.join(', ')}`,
  );
}
