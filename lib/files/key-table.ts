import { isDeepStrictEqual } from 'node:util';
import { GradCacheError } from '../errors.js';
import { refusedIn } from './file-fault.js';

/**
 * What a key of a model folder's file means here:
 *
 * - `'read'`: it is honoured, and written anew when the model is saved;
 * - `'kept'`: it changes no representation, and is saved as it was read;
 * - `{ only }`: it changes nothing at these values, and is refused at any other.
 *
 * A key that no table names changes nothing in Python either, and is kept.
 */
type Meaning = 'read' | 'kept' | { readonly only: readonly unknown[]; readonly way: string };
export type KeyTable = ReadonlyMap<string, Meaning>;

/** The keys of a JSON object that are saved as they were read. */
export type KeptKeys = Readonly<Record<string, unknown>>;

export const table = (meanings: Readonly<Record<string, Meaning>>): KeyTable =>
  new Map(Object.entries(meanings));
export const all = (meaning: Meaning, keys: string): Record<string, Meaning> =>
  Object.fromEntries(keys.split(/\s+/).map((key) => [key, meaning]));
export const only = (way: string, ...values: unknown[]): Meaning => ({ only: values, way });

/**
 * Refuses the keys that have a value which cannot be honoured.
 *
 * @throws GradCacheError `CHECKPOINT` naming the file, the key, its value and what would do
 */
export function requireKeys(path: string, content: KeptKeys, keys: KeyTable): void {
  for (const [key, value] of Object.entries(content)) {
    const meaning = keys.get(key);
    if (typeof meaning !== 'object' || meaning.only.some((each) => isDeepStrictEqual(each, value))) continue;
    const { message } = refusedIn(path, key, value, JSON.stringify(meaning.only[0]));
    throw new GradCacheError('CHECKPOINT', `${message} ${meaning.way}`);
  }
}

/** What of a file's content is saved as it was read. */
export function keptKeys(content: KeptKeys, keys: KeyTable): KeptKeys {
  return Object.fromEntries(Object.entries(content).filter(([key]) => keys.get(key) !== 'read'));
}
