import type { Ranks } from '../../lib/index.js';

/** Runs the parts of a program of ranks, and prints what each has found; an error on one rank is told to all. */
export async function runParts(
  ranks: Ranks,
  parts: Readonly<Record<string, () => Promise<unknown>>>,
): Promise<void> {
  try {
    const found: Record<string, unknown> = {};
    for (const [name, part] of Object.entries(parts)) found[name] = await part();
    console.log(JSON.stringify(found));
  } catch (error) {
    ranks.fail(error);
    throw error;
  } finally {
    await ranks.close();
  }
}
