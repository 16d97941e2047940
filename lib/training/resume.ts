import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { checkpointFolder, listCheckpoints, modelFolder, readCheckpoint } from './checkpoint.js';
import type { Checkpoint } from './checkpoint.js';
import type { GivenConfig } from './read-run.js';

/** A run that continues from a checkpoint. */
export interface Resumed {
  readonly folder: string;
  readonly checkpoint: Checkpoint;
}

/** Finds and reads the checkpoint to resume from; null for a run from the start. Earlier results are never overwritten unasked. */
export async function findResumed(place: Pick<GivenConfig, 'output' | 'resume'>): Promise<Resumed | null> {
  const folder = await findCheckpoint(place);
  if (folder === null) return null;
  const checkpoint = await readCheckpoint(folder);
  await checkNoneLater(place.output, checkpoint.state.step, folder);
  return { folder, checkpoint };
}

async function findCheckpoint({
  resume,
  output,
}: Pick<GivenConfig, 'output' | 'resume'>): Promise<string | null> {
  if (typeof resume === 'string' && dirname(resolve(resume)) === resolve(output)) return resolve(resume);
  const last = (await listCheckpoints(output)).at(-1);
  if (last !== undefined) {
    if (resume === true) return checkpointFolder(output, last);
    throw new GradCacheError(
      'INPUT',
      `${output} already holds a checkpoint of step ${last} of an earlier run. Resume that run, or give another output folder.`,
    );
  }
  if (!existsSync(modelFolder(output))) return typeof resume === 'string' ? resolve(resume) : null;
  throw new GradCacheError(
    'INPUT',
    `${output} already holds the model of an earlier run` +
      (resume === true
        ? ', but no checkpoint to resume it from: it wrote none (checkpoint, --checkpoint-every)'
        : '') +
      `. Give another output folder, or start a new run from ${modelFolder(output)}.`,
  );
}

/** Checkpoints of a branch that was left would be taken for this run's newest. */
async function checkNoneLater(output: string, step: number, resumed: string): Promise<void> {
  const later = (await listCheckpoints(output)).filter((other) => other > step);
  if (later.length === 0) return;
  throw new GradCacheError(
    'INPUT',
    `${output} holds checkpoints after step ${step}, where ${resumed} stands: ${later.join(', ')}. Give another output folder, ` +
      'or remove them.',
  );
}
