import { createHash, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { refused } from '../options/option-values.js';

/** The variable that holds an API key, for the command line. */
export const KEY_VARIABLE = 'GRADCACHE_API_KEY';

/** What can stand in the header of a request. */
const KEY = /^[\x21-\x7e]+$/;

/** The keys that a server takes. */
export class ApiKeys {
  /** Digests have one length, which comparing in constant time needs. */
  readonly #digests: readonly Buffer[];

  /** @throws GradCacheError `INPUT` for what cannot be a key, without showing it */
  constructor(keys: readonly string[]) {
    for (const key of keys)
      if (typeof key !== 'string' || !KEY.test(key))
        throw new GradCacheError(
          'INPUT',
          'an API key is empty or has spaces or characters beyond ASCII: one or more visible ASCII characters are needed.',
        );
    this.#digests = keys.map(digest);
  }

  /** Whether there are any: a server without lets everybody in. */
  get some(): boolean {
    return this.#digests.length > 0;
  }

  /**
   * Whether a request may come in. The time that it takes does not tell how much of a key is right.
   *
   * @param authorization its header: `Bearer KEY`
   */
  admits(authorization: string | undefined): boolean {
    if (!this.some) return true;
    const given = digest(/^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? '');
    let found = false;
    for (const known of this.#digests) found = timingSafeEqual(known, given) || found;
    return found;
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The keys that an option of a program gives: one, or a list of several that are good. */
export function keysIn(name: string, given: unknown): readonly string[] {
  if (given === undefined) return [];
  const keys: unknown = typeof given === 'string' ? [given] : given;
  const areKeys = Array.isArray(keys) && keys.length > 0 && keys.every((key) => typeof key === 'string');
  if (!areKeys) throw refused(name, typeof given, 'a key, or a list of at least one,');
  return keys;
}

/**
 * The keys of a file, one a line, and of the environment. Both may be given: a key can then be changed without a gap.
 *
 * @throws GradCacheError `INPUT` for a file that cannot be read or holds none, and for a variable that is empty
 */
export async function storedKeys(
  file: string | undefined,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<readonly string[]> {
  const keys: string[] = [];
  const variable = environment[KEY_VARIABLE];
  if (variable !== undefined) {
    if (variable.trim() === '')
      throw new GradCacheError(
        'INPUT',
        `${KEY_VARIABLE} is empty: set it to a key, or unset it to serve without one.`,
      );
    keys.push(variable.trim());
  }
  if (file === undefined) return keys;
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw fileError('INPUT', file, 'read', error);
  }
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (lines.length === 0)
    throw new GradCacheError('INPUT', `${file} holds no API key: write one, or several, one a line.`);
  return [...keys, ...lines];
}
