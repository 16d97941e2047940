/*
 * What a caller gives is read once, into values of our own: a getter or a proxy may answer otherwise the next time, change
 * a buffer meanwhile, claim any length, or throw.
 */
import { GradCacheError } from '../errors.js';
import { checkKnown } from './known-options.js';
import { refused } from './option-values.js';
import { reasonOf } from './realms.js';

/** What `read` gives. What a getter or proxy throws in it becomes `INPUT`, and says what was being read. */
export function readGiven<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof GradCacheError) throw error;
    throw new GradCacheError('INPUT', `${what} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

/** The elements of a list, holes as undefined. @throws GradCacheError `INPUT` for no list, or one of more than `most` */
export function readList(name: string, value: unknown, most: number): unknown[] {
  return readGiven(name, () => {
    if (!Array.isArray(value)) throw refused(name, value, 'a list');
    const { length } = value;
    if (length > most)
      throw new GradCacheError('INPUT', `${name} has ${length} elements; it may have at most ${most}`);
    return Array.from({ length }, (_, place): unknown => value[place]);
  });
}

/**
 * The options of a function.
 *
 * @throws GradCacheError `INPUT` for an option that the function does not know
 */
export function readKnown<T extends object>(
  taker: string,
  options: T,
  known: readonly (keyof T & string)[],
): T {
  return readGiven(`the options of ${taker}`, () => {
    checkKnown(taker, options, known);
    return Object.fromEntries(known.map((name) => [name, options[name]])) as T;
  });
}
