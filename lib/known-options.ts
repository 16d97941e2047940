import { GradCacheError } from './errors.js';

/**
 * What the compiler says of a misspelt option to a program in TypeScript, said to one in JavaScript.
 *
 * @param taker whose options they are, for the message
 * @throws GradCacheError `INPUT`
 */
export function checkKnown(taker: string, options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new GradCacheError('INPUT', `${taker} knows no option '${unknown}'; it takes ${known.join(', ')}`);
}
