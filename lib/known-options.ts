import { GradCacheError } from './errors.js';

/**
 * What the compiler says of options that do not exist to a program in TypeScript, said to one in JavaScript.
 *
 * @param taker whose options they are, for the message
 * @throws GradCacheError `INPUT`
 */
export function checkKnown(taker: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null)
    throw new GradCacheError('INPUT', `${taker} takes its options as an object: ${known.join(', ')}`);
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new GradCacheError('INPUT', `${taker} knows no option '${unknown}'; it takes ${known.join(', ')}`);
}
