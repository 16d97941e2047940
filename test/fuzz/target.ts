import type { Random } from './random-arguments.js';

/** Something that is called again and again with odd inputs. Its answer must be a result or a GradCacheError. */
export interface Target {
  /** How many inputs `npm test` tries. */
  readonly count: number;
  /** Least numbers of answers and of refusals in those tries: inputs that are all of one sort look for little. */
  readonly least?: { readonly answered: number; readonly refused: number };
  /** Called once in each process. The working folder is empty then, and its own. */
  prepare(): Attempt | Promise<Attempt>;
}

/**
 * Draws one input from `random` and uses it. The same numbers must make the same input, whatever was tried before.
 *
 * @param tell says what is about to be called, for the report of a failure
 */
export type Attempt = (random: Random, tell: (what: string) => void) => unknown;
