import type { Ranks, Told } from './ranks.js';

/*
 * Work of a program that may run alone, or as one of several ranks.
 */

/** Whether this process is alone, or rank 0: the one that writes files and tells what happens. */
export function isFirst(ranks: Ranks | null): boolean {
  return ranks === null || ranks.rank === 0;
}

/** Work that every rank does by itself. All wait for all, and where one fails all throw. @param what for messages, the same on all ranks */
export async function onEach<T>(ranks: Ranks | null, what: string, work: () => T | Promise<T>): Promise<T> {
  return ranks === null ? work() : ranks.agree(what, work);
}

/** Like {@link onEach}, and each is told numbers of all. */
export async function toldByEach<T>(
  ranks: Ranks | null,
  what: string,
  work: () => T | Promise<T>,
  numbers: (result: T) => readonly number[],
): Promise<Pick<Told<T>, 'result' | 'all'>> {
  if (ranks !== null) return ranks.together(what, work, { numbers });
  const result = await work();
  return { result, all: [numbers(result)] };
}

/** Tells the other ranks, which begin something, that this one cannot. @param what what they begin */
export async function refuseTogether(ranks: Ranks | null, what: string, error: unknown): Promise<never> {
  return onEach(ranks, what, () => {
    throw error;
  });
}

/** Work of rank 0 alone, for which the others wait however long it takes. Where it fails, all throw. */
export async function onFirst(ranks: Ranks | null, what: string, work: () => Promise<void>): Promise<void> {
  await onEach(ranks, what, async () => {
    if (isFirst(ranks)) await work();
  });
}

/** Like {@link onFirst}, and all ranks get what it came to: plain data, as JSON has it. */
export async function fromFirst<T>(ranks: Ranks | null, what: string, work: () => Promise<T>): Promise<T> {
  if (ranks === null) return work();
  const own = await ranks.agree(what, () => (isFirst(ranks) ? work() : undefined));
  const [first] = await fromEach(ranks, what, own);
  return first as T;
}

/** Plain data of each rank. */
export async function fromEach<T>(ranks: Ranks, what: string, own: T): Promise<T[]> {
  const text = JSON.stringify(own ?? null);
  const all = await ranks.bytes(what, new TextEncoder().encode(text));
  return all.map((bytes) => JSON.parse(new TextDecoder().decode(bytes)) as T);
}
