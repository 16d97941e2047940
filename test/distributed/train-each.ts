/** Runs trainings over ranks of this machine. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrainConfig } from '../../lib/training/config.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { runRanks } from './start-ranks.js';

/** What a run told a rank. */
export interface Told {
  readonly code?: string;
  readonly message?: string;
  readonly events: readonly TrainEvent[];
}

/** Runs trainings one after another over ranks; each has a configuration for each rank. @returns what each told each rank */
export async function trainEach(
  folder: string,
  runs: readonly (readonly TrainConfig[])[],
): Promise<Told[][]> {
  const file = join(folder, 'runs.json');
  await writeFile(file, JSON.stringify(runs));
  return runRanks<Told[]>(runs[0]!.length, 'train-program.js', [file]);
}
