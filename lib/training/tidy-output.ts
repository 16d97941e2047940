import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { placeOf } from '../files/names-beside.js';
import { mergeAbandoned } from '../files/set-aside.js';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { isPartOfCheckpoint } from './checkpoint.js';

/**
 * Tidies `output` after a run that was killed while it wrote: removes what is half written, and puts back a folder that was
 * set aside for one that never came. A user's files in a folder set aside go back to their places. Call it with the folder
 * locked: another run's unfinished files look the same.
 *
 * @throws GradCacheError `INPUT`
 */
export async function tidyOutput(output: string): Promise<void> {
  const names = await onFiles('INPUT', output, 'read', () => readdir(output).catch(ifAbsent<string[]>([])));
  for (const name of names) {
    const left = placeOf(name);
    if (left === undefined) continue;
    // A checkpoint's model is written in a folder that is itself half written: two endings.
    const outer = placeOf(left.place);
    const place = outer?.place ?? left.place;
    if (!/^(checkpoint-\d+|model|best|best\.json|metrics\.jsonl|hardest\.json|settings\.json)$/.test(place))
      continue;
    const path = join(output, name);
    await onFiles('INPUT', path, 'put in order', async () => {
      if (left.kind === 'tmp' || outer !== undefined) await rm(path, { recursive: true, force: true });
      else await mergeAbandoned(join(output, place), isPartOfCheckpoint);
    });
  }
}
