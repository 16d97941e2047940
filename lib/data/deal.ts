import type { Row } from './row.js';

/** A process among those that train together: which one it is, counted from 0, and how many there are. */
export interface RankPlace {
  /** The number of this process, from 0. */
  readonly rank: number;
  /** How many processes there are. */
  readonly size: number;
}

/** How items are dealt out: the numbers of each rank's items, and of this rank's. */
export interface Shares {
  readonly all: readonly Uint32Array[];
  readonly own: Uint32Array;
}

/** Texts longer than this are dealt as if they had this length: no model reads more. */
const LONGEST = 2 ** 24;

/**
 * Deals items out to ranks so that each gets about as much text and, to one, as many items: longest first, to and fro. It
 * depends on the lengths alone, so that every rank deals alike.
 *
 * @param lengths the length of each item's texts
 * @returns for each rank the numbers of its items, ascending
 */
export function deal(lengths: ArrayLike<number>, ranks: number): Uint32Array[] {
  const count = lengths.length;
  // Longest first, equal ones in their order: sorting numbers is several times as fast as calling a function for each two.
  const order = Float64Array.from(
    { length: count },
    (_, item) => (LONGEST - Math.min(lengths[item]!, LONGEST)) * count + item,
  ).sort();
  const dealt = Array.from({ length: ranks }, (_, rank) => {
    return new Uint32Array(Math.floor(count / ranks) + (isOver(rank, count, ranks) ? 1 : 0));
  });
  for (let place = 0; place < count; place++) {
    const round = Math.floor(place / ranks);
    dealt[rankOf(place, ranks)]![round] = order[place]! % count;
  }
  return dealt.map((items) => items.sort());
}

/** {@link deal}, as a rank sees it. */
export function sharesOf(lengths: ArrayLike<number>, { rank, size }: RankPlace): Shares {
  const all = deal(lengths, size);
  return { all, own: all[rank]! };
}

/** Which rank has a place in the order of lengths: every second round goes backwards. */
function rankOf(place: number, ranks: number): number {
  const [round, turn] = [Math.floor(place / ranks), place % ranks];
  return round % 2 === 0 ? turn : ranks - 1 - turn;
}

/** Whether a rank has an item of the last round, which may be short. */
function isOver(rank: number, count: number, ranks: number): boolean {
  const [rounds, over] = [Math.floor(count / ranks), count % ranks];
  return (rounds % 2 === 0 ? rank : ranks - 1 - rank) < over;
}

/** How much text a row has, in UTF-16 units. */
export function lengthOfRow(row: Row): number {
  let length = 0;
  for (const text of Object.values(row)) length += text.length;
  return length;
}

/** How much text each row of a batch has, from its columns. */
export function lengthsOfRows(columns: Readonly<Record<string, readonly string[]>>): number[] {
  const lists = Object.values(columns);
  return (lists[0] ?? []).map((_, row) => lists.reduce((sum, texts) => sum + texts[row]!.length, 0));
}
