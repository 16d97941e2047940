import { scoreOf, setsOf, type HeldOutSettings, type NamedSet } from '../held-out-sets.js';
import type { HeldOut, Measured } from './objective.js';

/**
 * All held-out data of a run as one: the scores of a set have its name before theirs, and what was hardest is that of the first set
 * that tells. Null where there is none.
 */
export async function loadAllHeldOut(
  evaluation: HeldOutSettings | undefined,
  load: (set: NamedSet) => Promise<HeldOut>,
): Promise<HeldOut | null> {
  const sets: { readonly name: string | undefined; readonly heldOut: HeldOut }[] = [];
  for (const set of setsOf(evaluation)) sets.push({ name: set.name, heldOut: await load(set) });
  if (sets.length === 0) return null;
  return {
    names: sets.flatMap(({ name, heldOut }) => (heldOut.names ?? []).map((score) => scoreOf(name, score))),
    async measure(signal) {
      const scores: Record<string, number> = {};
      let hardest: Measured['hardest'];
      for (const { name, heldOut } of sets) {
        const measured = await heldOut.measure(signal);
        for (const [score, value] of Object.entries(measured.scores)) scores[scoreOf(name, score)] = value;
        hardest ??= measured.hardest && { ...measured.hardest, ...(name !== undefined && { set: name }) };
      }
      return { scores, hardest };
    },
  };
}
