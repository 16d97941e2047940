import type { Label } from './labels.js';
import type { Random } from './random.js';

/** The fewest rows of a batch of pairs of rows that surely holds two labels. */
export const LEAST_GROUPED = 4;

/**
 * An order of rows in which any even number of neighbours, from an even place on, has at least two rows of each of its
 * labels: labels take turns in a random order, and each gives two of its rows. It ends when fewer than two labels have
 * rows left, so that the rest of a frequent label is left out, as is a row that is alone.
 *
 * @param labels the label of each row
 * @returns places of rows
 */
export function groupByLabel(labels: readonly Label[], random: Random): number[] {
  const groups = new Map<Label, number[]>();
  for (const [place, label] of labels.entries()) {
    const group = groups.get(label);
    if (group === undefined) groups.set(label, [place]);
    else group.push(place);
  }
  let turns = [...groups.values()].map((group) => random.shuffle(group)).filter(({ length }) => length >= 2);
  const order: number[] = [];
  let last: number[] | undefined;
  while (turns.length >= 2) {
    random.shuffle(turns);
    // A label that has two turns in a row could fill a batch of four.
    if (turns[0] === last) [turns[0], turns[1]] = [turns[1]!, turns[0]!];
    for (const group of turns) order.push(group.pop()!, group.pop()!);
    last = turns.at(-1);
    turns = turns.filter(({ length }) => length >= 2);
  }
  return order;
}
