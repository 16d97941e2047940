import { join } from 'node:path';
import type { Hardest } from '../evaluation/hardest.js';
import { writeJson } from '../files/write-json.js';

/** Where a run keeps what its model found hardest in the last evaluation. */
export function hardestFile(output: string): string {
  return join(output, 'hardest.json');
}

/** What a model found hardest, and after which update. */
export type StoredHardest = Hardest & { readonly step: number };

/** Keeps what the model of a run found hardest, in place of that of the evaluation before. */
export async function writeHardest(output: string, hardest: StoredHardest): Promise<void> {
  await writeJson(hardestFile(output), hardest);
}
