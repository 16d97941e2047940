import { textsIn } from '../data/text-lists.js';
import type { BatchIds } from '../data/row-ids.js';
import { masksDuplicates } from '../losses/loss-kinds.js';
import { OWN_LOSS } from '../losses/own-loss.js';
import { identitiesOf, textsOfRows } from './objectives/row-identities.js';
import type { Texts } from './objectives/objective.js';
import type { FilledTrainConfig } from './read-config.js';

type Trained = Pick<FilledTrainConfig, 'columns' | 'lists' | 'loss'>;

/**
 * How many rows of a batch have no negative at all: each shares an id or a text with every other. They teach nothing. Negatives of a
 * row's own stay. Whether a memory has some is not looked at.
 */
export function countMaskedRows(config: Trained, texts: Texts, ids: BatchIds): number {
  const { columns, lists = [], loss } = config;
  if (loss.kind === OWN_LOSS || !masksDuplicates(loss)) return 0;
  if (columns.length > 2) return 0;
  const rows = textsOfRows(columns.map((column) => texts[column] ?? []));
  const isList = columns.map((column) => lists.includes(column));
  const ofTexts = rows.map((own) => own.flatMap((text, place) => (isList[place] ? textsIn(text) : [text])));
  return alone(identitiesOf(ofTexts, ids, undefined));
}

/** @param identities of each row */
function alone(identities: readonly (readonly string[])[]): number {
  const count = identities.length;
  if (count < 2) return 0;
  const rowsOf = new Map<string, Set<number>>();
  for (const [row, own] of identities.entries())
    for (const identity of own) {
      const rows = rowsOf.get(identity) ?? new Set();
      rowsOf.set(identity, rows.add(row));
    }
  return identities.filter((own) => {
    const shared = [...new Set(own)].map((identity) => rowsOf.get(identity)!).filter(({ size }) => size > 1);
    if (shared.some(({ size }) => size === count)) return true;
    // Their union is looked at where it can be all.
    if (shared.reduce((sum, { size }) => sum + size - 1, 1) < count) return false;
    return new Set(shared.flatMap((rows) => [...rows])).size === count;
  }).length;
}
