import { isDeepStrictEqual } from 'node:util';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import type { Ranks } from './ranks.js';
import { fromEach } from './shared-work.js';

/**
 * Compares what must be the same on all ranks.
 *
 * @param facts plain data by name; a name is what a message calls it
 * @throws GradCacheError `DISTRIBUTED`, on all ranks the same, naming what differs and on which rank
 */
export async function requireSame(ranks: Ranks, facts: Readonly<Record<string, unknown>>): Promise<void> {
  const all = await fromEach(ranks, 'comparing what ranks must have in common', facts);
  const [first = {}] = all;
  for (const [rank, other] of all.entries()) {
    for (const name of new Set([...Object.keys(first), ...Object.keys(other)])) {
      if (isDeepStrictEqual(first[name], other[name])) continue;
      throw new GradCacheError(
        'DISTRIBUTED',
        `The ranks do not train the same: ${name} is ${shown(first[name])} on rank 0 and ${shown(other[name])} on rank ${rank}. ` +
          'Start all ranks with the same program, settings and files.',
      );
    }
  }
}

const shown = (value: unknown): string => (value === undefined || value === null ? 'not there' : show(value));
